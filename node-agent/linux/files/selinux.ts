import { readFile } from 'node:fs/promises';
import { parseSelinuxState, type SelinuxState } from '../../../src/core/volumes/selinux-context.ts';

/**
 * Reads the state of SELinux on this node at each call: a policy may be loaded after the agent
 * starts.
 */
export interface HostSelinux {
  read(): Promise<SelinuxState>;
}

/** The host's SELinux, also from within a container: it needs no selinuxfs. */
export const hostSelinux: HostSelinux = {
  async read() {
    // Without a security module the attribute does not exist (ENOENT, EINVAL).
    const current = await readFile('/proc/self/attr/current', 'utf8').catch(() => '');
    return parseSelinuxState(await readFile('/proc/filesystems', 'utf8'), current);
  },
};
