import { randomInt } from 'node:crypto';
import { deleteGroup, deleteLink, groupLink } from '../netlink/requests.ts';
import { RouteSocket } from '../netlink/socket.ts';

/**
 * Deletes links with their peers, addresses and routes; absent links are ignored. Resolves when the
 * kernel has finished, long after the links are invisible (see `LinkReaper`). Several links are
 * deleted as one group, for which the kernel waits once.
 */
export async function deleteLinks(names: readonly string[]): Promise<void> {
  const [only] = names;
  if (only === undefined) return;
  // Group 0 is the default and small groups are administrators'; a random group is unused.
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
