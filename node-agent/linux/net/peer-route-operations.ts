import { type IpAddress, parseAddress } from '../../../src/core/network/cidr.ts';
import { Fault, isFault } from '../../../src/core/fault.ts';
import {
  type OwnAddress,
  PEER_ROUTE_PRIORITY,
  PEER_ROUTE_PROTOCOL,
  type PeerRoute,
  type PeerRouteFacts,
} from '../../../src/core/network/peer-routes.ts';
import { hostSocket } from './host-socket.ts';
import { decodeAddress, decodeLink, decodeRoute } from '../netlink/replies.ts';
import * as request from '../netlink/requests.ts';

/** Reads the node's addresses on links that are up, and its routes to pods of other nodes. */
export function readPeerRoutes(): Pick<PeerRouteFacts, 'addresses' | 'present'> {
  const socket = hostSocket();
  const links = socket.dump(request.dumpRequest('links')).map(decodeLink);
  const up = new Set(links.filter((link) => link.up).map(({ index }) => index));
  const addresses: OwnAddress[] = socket
    .dump(request.dumpRequest('addresses'))
    .flatMap((message) => decodeAddress(message) ?? [])
    .filter(({ index }) => up.has(index));
  const present = socket
    .dump(request.dumpRequest('routes'))
    .flatMap((message) => decodeRoute(message) ?? [])
    .filter(({ protocol }) => protocol === PEER_ROUTE_PROTOCOL)
    .map(({ destination, gateway, index }) => ({
      destination,
      ...(gateway === undefined ? {} : { gateway }),
      ...(index === undefined ? {} : { index }),
    }));
  return { addresses, present };
}

/**
 * Removes and adds routes to pods of other nodes; applies all that the kernel accepts, then throws
 * the first error. Removing an absent route succeeds.
 */
export function changePeerRoutes({
  add,
  remove,
}: {
  readonly add: readonly PeerRoute[];
  readonly remove: PeerRouteFacts['present'];
}): void {
  const socket = hostSocket();
  for (const { destination, gateway, index } of remove) {
    const way = {
      ...(index === undefined ? {} : { index }),
      ...(gateway === undefined ? {} : { gateway: parse(gateway) }),
    };
    try {
      socket.execute([request.deleteRoute({ destination, ...way, ...OURS })]);
    } catch (error) {
      // The route was deleted with its link.
      if (!isFault(error, 'not-found')) throw error;
    }
  }
  socket.execute(
    add.map(({ destination, gateway, index }) =>
      request.addRoute({ destination, gateway: parse(gateway), index, ...OURS }),
    ),
  );
}

const OURS = { priority: PEER_ROUTE_PRIORITY, protocol: PEER_ROUTE_PROTOCOL };

function parse(text: string): IpAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new Fault('bug', `${text} is not an IP address`);
  return address;
}
