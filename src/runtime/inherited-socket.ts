import { Fault } from '../core/fault.ts';

/** The first descriptor that a service manager hands over (sd_listen_fds(3)). */
const FIRST_DESCRIPTOR = 3;

/**
 * The listening socket that systemd has made for process `pid`; undefined when it has made none. Throws `invalid` for more than one: a unit
 * that names several does not say which is meant.
 */
export function inheritedSocket(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  // The variables are inherited by children too, for whom the sockets are not.
  if (Number(env['LISTEN_PID']) !== pid) return undefined;
  const count = Number(env['LISTEN_FDS']);
  if (count === 1) return FIRST_DESCRIPTOR;
  throw new Fault('invalid', `LISTEN_FDS is ${env['LISTEN_FDS'] ?? 'absent'}: the unit must have one socket`);
}
