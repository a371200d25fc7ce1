import type { Socket } from 'node:net';

/**
 * A message of CRI's maximum size fits into a window: with HTTP/2's 64 KiB a large list takes three
 * times as long.
 */
export const WINDOW_BYTES = 32 * 1024 * 1024;

/** For the sessions on both sides. */
export const SESSION_OPTIONS = {
  settings: { initialWindowSize: WINDOW_BYTES, maxHeaderListSize: 1024 * 1024, enablePush: false },
  /** MB. The default of 10 ends a session that carries large messages (nodejs/node#23116). */
  maxSessionMemory: 256,
  maxHeaderListPairs: 4_000,
  maxSendHeaderBlockLength: 2 * 1024 * 1024,
  /** Metadata may repeat any name. */
  strictSingleValueFields: false,
};

/** For the session with a client, in addition. */
export const SERVER_OPTIONS = {
  ...SESSION_OPTIONS,
  settings: { initialWindowSize: WINDOW_BYTES, maxHeaderListSize: 1024 * 1024 },
  /**
   * Cancelled calls are resets: the default ends the session after about a thousand
   * (nodejs/node#56306). The client is kubelet.
   */
  streamResetBurst: 1_000_000,
  streamResetRate: 100_000,
};

/** A socket error shows as its session's close; without a listener it would end the process. */
export function guardSocket(socket: Socket): void {
  socket.on('error', () => undefined);
}
