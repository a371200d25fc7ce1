import { RouteSocket } from '../netlink/socket.ts';

let socket: RouteSocket | undefined;

/** Returns the worker's routing socket, in the network namespace of its first use: the node's. */
export function hostSocket(): RouteSocket {
  socket ??= RouteSocket.open();
  return socket;
}
