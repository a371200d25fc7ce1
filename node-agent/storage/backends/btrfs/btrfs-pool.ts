import { Fault } from '../../../../src/core/fault.ts';
import type { PoolSpec } from '../../../../src/core/pools/pool.ts';
import type { QuotaMode } from '../../../../src/core/volumes/volume-quota.ts';
import { type Kernel, startKernel } from '../../../linux/kernel/kernel.ts';
import { SysError } from '../../../linux/libc/libc.ts';
import { FileBlockMaps } from '../../content/file-block-maps.ts';
import { BlockMounts } from '../../mounts/block-mounts.ts';
import { mountsByMode } from '../../mounts/mounts-by-mode.ts';
import { BtrfsBackend, pathOf } from './btrfs-backend.ts';
import { DirectoryMounts } from '../../mounts/directory-mounts.ts';
import type { PoolContents, PoolContentsDeps, PoolDirectory } from '../../contract/pool-contents.ts';
import { QuotaCheck } from './quota-check.ts';
import { SubvolumeTransfer } from './subvolume-transfer.ts';
import { FileTransfer } from '../../content/file-transfer.ts';

/** Opens a pool on btrfs, and enables quotas. */
export async function openBtrfs(
  { spec, path, root, fsUuid }: PoolDirectory,
  { kernel, logger, groups }: PoolContentsDeps,
): Promise<PoolContents> {
  const { name, source } = spec;
  if (fsUuid === undefined) throw new Fault('bug', `pool ${name}: btrfs without a UUID`);
  const quotaMode = await ensureQuota(root, fsUuid, spec, kernel);
  const backend = new BtrfsBackend(
    { root, quotaMode, ownsFilesystem: source.kind !== 'path' },
    { kernel, startKernel },
  );
  const blockMaps = new FileBlockMaps({ fileOf: (id) => backend.deviceFileOf(id, 'snapshot') }, { kernel });
  const checkQuota = new QuotaCheck({ name, path, root, fsUuid }, { kernel, logger });
  return {
    backend,
    mounts: mountsByMode({
      Filesystem: new DirectoryMounts(
        { root, pathOf: (id) => pathOf({ kind: 'volume', id }) },
        { kernel, groups },
      ),
      Block: new BlockMounts({ fileOf: (id) => backend.deviceFileOf(id) }, { kernel }),
    }),
    blockMaps,
    transfers: {
      Filesystem: new SubvolumeTransfer({ path }),
      Block: new FileTransfer(
        { maps: blockMaps, make: (id, content, fill) => backend.receiveDevice(id, content, fill) },
        { kernel },
      ),
    },
    checkHealth: () => checkQuota.check(),
  };
}

/** Errors of kernels without simple quotas. */
const NOT_SUPPORTED = ['EINVAL', 'ENOTTY', 'EOPNOTSUPP'];

async function ensureQuota(
  root: number,
  fsUuid: string,
  { name, quota }: Pick<PoolSpec, 'name' | 'quota'>,
  kernel: Kernel,
): Promise<QuotaMode> {
  const state = await kernel.call('readQuotaState', fsUuid);
  if (state !== undefined) {
    if (quota === 'auto' || quota === state.mode) return state.mode;
    throw new Fault(
      'precondition',
      `pool ${name} is configured with ${quota} quotas, but its file system has ${state.mode} quotas; they cannot be changed while the pool holds volumes`,
      { fields: { pool: name, quota, found: state.mode } },
    );
  }
  if (quota !== 'classic') {
    try {
      await kernel.call('enableQuota', root, 'simple');
      return 'simple';
    } catch (error) {
      if (!(error instanceof SysError && NOT_SUPPORTED.includes(error.code))) throw error;
      if (quota === 'simple') {
        throw new Fault(
          'unsupported',
          `pool ${name} is configured with simple quotas, which need Linux 6.7 or later`,
          {
            fields: { pool: name },
            cause: error,
          },
        );
      }
    }
  }
  await kernel.call('enableQuota', root, 'classic');
  await kernel.call('waitForQuotaRescan', root);
  return 'classic';
}
