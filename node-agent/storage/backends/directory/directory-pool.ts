import { statfs } from 'node:fs/promises';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import type { FsType } from '../../../../src/core/volumes/volume.ts';
import { DirectoryBackend, dataPathOf } from './directory-backend.ts';
import { DirectoryMounts } from '../../mounts/directory-mounts.ts';
import { mountsByMode } from '../../mounts/mounts-by-mode.ts';
import type { PoolContents, PoolContentsDeps, PoolDirectory } from '../../contract/pool-contents.ts';

/** f_type of statfs(2): the file systems that volumes can be asked for by name. */
const TYPES: ReadonlyMap<number, FsType> = new Map([
  [0x58465342, 'xfs'],
  [0xef53, 'ext4'],
  [0x9123683e, 'btrfs'],
]);

/** How many volumes a message names. */
const NAMED = 3;

/**
 * A pool whose volumes are directories, each held to its size by a project quota where the kernel
 * has it.
 */
export async function openDirectories(
  { spec: { name }, path, root }: PoolDirectory,
  { kernel, logger, groups }: PoolContentsDeps,
): Promise<PoolContents> {
  const { type } = await statfs(`/proc/self/fd/${root}`);
  const fsType = TYPES.get(type);
  const isEnforced = (await kernel.call('readProjectQuotaState', root)) === 'enforced';
  const features: BackendFeatures = {
    backend: 'directory',
    enforcement: isEnforced ? 'project' : 'none',
    volumeModes: ['Filesystem'],
    fsTypes: fsType === undefined ? [] : [fsType],
    copies: 'none',
    attributes: { Filesystem: isEnforced ? ['quotaInodes'] : [], Block: [] },
  };
  const backend = new DirectoryBackend({ pool: name, root, features }, { kernel, logger });
  return {
    backend,
    mounts: mountsByMode({
      Filesystem: new DirectoryMounts(
        { root, pathOf: dataPathOf, readStats: (id) => backend.stats(id) },
        { kernel, groups },
      ),
    }),
    unenforced: isEnforced
      ? undefined
      : `sizes are not enforced: ${path} (${fsType ?? 'a file system without a name here'}) has no project quota in force; it needs xfs or ext4 (feature project), mounted with prjquota, and a kernel that has it`,
    async checkHealth() {
      if (!isEnforced) return undefined;
      if ((await kernel.call('readProjectQuotaState', root)) !== 'enforced') {
        return `project quota was turned off on ${path}: sizes are not enforced; mount it with prjquota again`;
      }
      const unheld = await backend.unheld();
      if (unheld.length === 0) return undefined;
      return `${unheld.length} volumes were made while sizes could not be enforced, and are not held to them (${unheld.slice(0, NAMED).join(', ')}); move what is in them to new volumes`;
    },
  };
}
