import { readFile } from 'node:fs/promises';
import { parseSelinuxState, type SelinuxState } from '../../../src/core/volumes/selinux-context.ts';

/**
 * What SELinux is on this node. Asked when it matters: a policy may be loaded long after the agent
 * started.
 */
export interface HostSelinux {
  read(): Promise<SelinuxState>;
}

/** Of the kernel that this process runs on, in a container too: it needs no selinuxfs. */
export const hostSelinux: HostSelinux = {
  async read() {
    // Where no security module answers for processes, there is no such attribute (EINVAL), or no
    // such file.
    const current = await readFile('/proc/self/attr/current', 'utf8').catch(() => '');
    return parseSelinuxState(await readFile('/proc/filesystems', 'utf8'), current);
  },
};
