import { Fault } from '../../src/core/fault.ts';

/**
 * Reads PEER_PROCESSES, `NAME=PID,NAME=PID`: what a peer needs on one node for what it does there.
 * Throws `invalid`.
 */
export function parsePeerProcesses(text: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const part of text.split(',').map((piece) => piece.trim())) {
    const [name = '', pid = ''] = part.split('=');
    if (name === '' || !/^[1-9]\d*$/.test(pid)) {
      throw new Fault(
        'invalid',
        `PEER_PROCESSES: found ${JSON.stringify(part)}, expected NAME=PID, such as provisioner=4711`,
      );
    }
    if (found.has(name)) throw new Fault('invalid', `PEER_PROCESSES names ${name} twice`);
    found.set(name, Number(pid));
  }
  return found;
}
