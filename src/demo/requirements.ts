import { join } from 'node:path';
import { NODE_PROGRAMS, program, type Requirements } from '../preflight/preflight.ts';

export interface DemoPaths {
  readonly keelson: string;
  readonly cniBinDir: string;
  readonly containerdDir?: string | undefined;
}

/** The filled volume, changes of its clone, images and logs. */
const FREE_BYTES = 3n * 2n ** 30n;

/** Returns the requirements of the demo: those of a node and its own. */
export function demoRequirements({ keelson, cniBinDir, containerdDir }: DemoPaths): Requirements {
  const containerdProgram = (name: string, why: string, debianPackage: string) =>
    containerdDir === undefined
      ? program(name, why, debianPackage)
      : {
          program: join(containerdDir, name),
          why,
          remedy: `install it in ${containerdDir}, or omit --containerd-dir`,
        };
  return {
    freeBytes: FREE_BYTES,
    filesystems: ['btrfs', 'overlay'],
    programs: [
      ...NODE_PROGRAMS,
      program('lsns', 'lists network namespaces', 'util-linux'),
      program('nsenter', 'starts the node in its network namespace', 'util-linux'),
      containerdProgram('containerd', 'runs the pods', 'containerd'),
      containerdProgram('ctr', 'imports the images', 'containerd'),
      containerdProgram('containerd-shim-runc-v2', 'runs the containers of a pod', 'containerd'),
      containerdProgram('runc', 'starts a container', 'runc'),
      program('/bin/busybox', "content of the demo's images", 'busybox-static'),
      { program: keelson, why: 'agent and proxy', remedy: 'make build' },
      {
        program: join(cniBinDir, 'keelson-cni'),
        why: 'CNI plugin of containerd',
        remedy: 'make build',
      },
    ],
  };
}
