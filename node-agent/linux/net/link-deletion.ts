import { randomInt } from 'node:crypto';
import { deleteGroup, deleteLink, groupLink } from '../netlink/requests.ts';
import { RouteSocket } from '../netlink/socket.ts';

/**
 * Deletes links with their peers, addresses and routes; absent ones are left out. Resolves when the
 * kernel has finished, which is long after the links are out of sight (see `LinkReaper`). Several
 * are deleted as one link group, so that the kernel waits once for all.
 */
export async function deleteLinks(names: readonly string[]): Promise<void> {
  const [only] = names;
  if (only === undefined) return;
  // Group 0 is everybody's default and small ones are the administrator's; a random one is nobody
  // else's.
  const group = randomInt(1 << 24, 2 ** 31 - 1);
  const requests =
    names.length === 1
      ? [deleteLink(only)]
      : [...names.map((name) => groupLink(name, group)), deleteGroup(group)];
  using socket = RouteSocket.open();
  const refusals = await socket.submit(requests);
  const refusal = refusals.find(({ kind }) => kind !== 'not-found');
  if (refusal !== undefined) throw refusal;
}
