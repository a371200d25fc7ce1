import { Fault } from '../core/fault.ts';

/** The first file descriptor that a service manager passes (sd_listen_fds(3)). */
const FIRST_DESCRIPTOR = 3;

/**
 * Returns the listening socket that systemd passed to process `pid`; undefined when it passed none.
 * Throws `invalid` for more than one: their order in the unit does not tell which is meant.
 */
export function inheritedSocket(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  // Children inherit the variables, but not the sockets.
  if (Number(env['LISTEN_PID']) !== pid) return undefined;
  const count = Number(env['LISTEN_FDS']);
  if (count === 1) return FIRST_DESCRIPTOR;
  throw new Fault('invalid', `LISTEN_FDS is ${env['LISTEN_FDS'] ?? 'absent'}: the unit must have one socket`);
}
