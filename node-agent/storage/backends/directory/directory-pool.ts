import { statfs } from 'node:fs/promises';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import type { FsType } from '../../../../src/core/volumes/volume.ts';
import { DirectoryBackend, dataPathOf } from './directory-backend.ts';
import { DirectoryMounts } from '../../mounts/directory-mounts.ts';
import { mountsByMode } from '../../mounts/mounts-by-mode.ts';
import type { PoolContents, PoolContentsDeps, PoolDirectory } from '../../contract/pool-contents.ts';

/** File systems that volumes can request, by f_type of statfs(2). */
const TYPES: ReadonlyMap<number, FsType> = new Map([
  [0x58465342, 'xfs'],
  [0xef53, 'ext4'],
  [0x9123683e, 'btrfs'],
]);

/** Limits how many volumes a message names. */
const MAX_NAMED = 3;

/**
 * Opens a pool whose volumes are directories, with a project quota each where the kernel has them.
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
      : `sizes are not enforced: ${path} (${fsType ?? 'unknown file system'}) does not enforce project quotas; it needs xfs or ext4 (feature project), mounted with prjquota, and a kernel with project quotas`,
    async checkHealth() {
      if (!isEnforced) return undefined;
      if ((await kernel.call('readProjectQuotaState', root)) !== 'enforced') {
        return `project quotas were disabled on ${path}: sizes are not enforced; mount it with prjquota`;
      }
      const unenforced = await backend.listUnenforced();
      if (unenforced.length === 0) return undefined;
      return `${unenforced.length} volumes were created without enforced sizes (${unenforced.slice(0, MAX_NAMED).join(', ')}); move their data to new volumes`;
    },
  };
}
