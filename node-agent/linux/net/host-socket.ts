import { RouteSocket } from '../netlink/socket.ts';

let socket: RouteSocket | undefined;

/**
 * The worker's routing socket, of the network namespace in which the worker was when it was asked
 * for first: the node's.
 */
export function hostSocket(): RouteSocket {
  socket ??= RouteSocket.open();
  return socket;
}
