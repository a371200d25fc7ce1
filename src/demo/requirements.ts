import { join } from 'node:path';
import { NODE_PROGRAMS, program, type Requirements } from '../preflight/preflight.ts';

export interface DemoPaths {
  readonly keelson: string;
  readonly cniBinDir: string;
  readonly containerdDir?: string | undefined;
}

/** The volume that is filled, its clone's changes, images and logs. */
const FREE_BYTES = 3n * 2n ** 30n;

/** What the demo needs of a machine besides what a node needs. */
export function demoRequirements({ keelson, cniBinDir, containerdDir }: DemoPaths): Requirements {
  const containerdProgram = (name: string, why: string, debianPackage: string) =>
    containerdDir === undefined
      ? program(name, why, debianPackage)
      : {
          program: join(containerdDir, name),
          why,
          remedy: `put it into ${containerdDir}, or leave --containerd-dir out`,
        };
  return {
    freeBytes: FREE_BYTES,
    filesystems: ['btrfs', 'overlay'],
    programs: [
      ...NODE_PROGRAMS,
      program('lsns', 'shows that no network namespace is left', 'util-linux'),
      program('nsenter', 'starts the node in a network namespace of its own', 'util-linux'),
      containerdProgram('containerd', 'runs the pods', 'containerd'),
      containerdProgram('ctr', 'imports the images', 'containerd'),
      containerdProgram('containerd-shim-runc-v2', 'holds a pod', 'containerd'),
      containerdProgram('runc', 'starts a container', 'runc'),
      program('/bin/busybox', "is what the demo's images are made of", 'busybox-static'),
      { program: keelson, why: 'is the agent and the proxy', remedy: 'make build' },
      {
        program: join(cniBinDir, 'keelson-cni'),
        why: 'is what containerd calls for a network',
        remedy: 'make build',
      },
    ],
  };
}
