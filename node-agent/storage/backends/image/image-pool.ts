import { access, mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import type { FsType } from '../../../../src/core/volumes/volume.ts';
import { IO_ATTRIBUTES } from '../../../../src/core/volumes/volume-attributes.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { FileBlockMaps } from '../../content/file-block-maps.ts';
import { BlockMounts } from '../../mounts/block-mounts.ts';
import { mountsByMode } from '../../mounts/mounts-by-mode.ts';
import { DIRECTORIES } from '../../contract/volume-backend.ts';
import { ImageBackend } from './image-backend.ts';
import { ImageMounts } from './image-mounts.ts';
import type { PoolContents, PoolContentsDeps, PoolDirectory } from '../../contract/pool-contents.ts';
import { FileTransfer } from '../../content/file-transfer.ts';

/** File systems of volumes, the default first. */
const PREFERRED: readonly FsType[] = ['ext4', 'xfs', 'btrfs'];

/** Opens a pool whose volumes are files, attached as loop devices. */
export async function openImages(
  { spec: { name }, stateDir, root }: PoolDirectory,
  { kernel, logger, groups }: PoolContentsDeps,
): Promise<PoolContents> {
  for (const directory of Object.values(DIRECTORIES)) {
    await using handle = await open(`/proc/self/fd/${root}/${directory}`, 'r');
    await kernel.call('disableCopyOnWrite', handle.fd);
  }
  const features: BackendFeatures = {
    backend: 'image',
    enforcement: 'file',
    volumeModes: ['Filesystem', 'Block'],
    fsTypes: await mountableTypes(kernel),
    encryptedFsTypes: (await canEncryptExt4()) ? ['ext4'] : [],
    copies: (await canShare(root, kernel)) ? 'constant' : 'proportional',
    attributes: { Filesystem: IO_ATTRIBUTES, Block: IO_ATTRIBUTES },
  };
  if (features.copies === 'proportional') {
    logger.warn({ pool: name }, 'files of this pool cannot share data; snapshots and clones are full copies');
  }
  const mountDir = join(stateDir, 'mounts', name);
  await mkdir(mountDir, { recursive: true, mode: 0o700 });
  const backend = new ImageBackend({ pool: name, root, features }, { kernel, logger });
  const fileOf = (id: string): string => backend.fileOf(id);
  const blockMaps = new FileBlockMaps({ fileOf: (id) => backend.fileOf(id, 'snapshot') }, { kernel });
  const files = new FileTransfer(
    { maps: blockMaps, make: (id, content, fill) => backend.receiveSnapshot(id, content, fill) },
    { kernel },
  );
  return {
    backend,
    mounts: mountsByMode({
      Filesystem: new ImageMounts(
        { fileOf, mountDir, replaceFile: (id, work) => backend.replaceFile(id, work) },
        { kernel, groups },
      ),
      Block: new BlockMounts({ fileOf }, { kernel }),
    }),
    blockMaps,
    transfers: { Filesystem: files, Block: files },
    checkHealth: async () => undefined,
  };
}

async function mountableTypes(kernel: Kernel): Promise<FsType[]> {
  const present: FsType[] = [];
  for (const type of PREFERRED) if (await kernel.call('knowsFilesystem', type)) present.push(type);
  return present;
}

/** Whether the kernel was built with encryption for ext4 (CONFIG_FS_ENCRYPTION). */
async function canEncryptExt4(): Promise<boolean> {
  return await access('/sys/fs/ext4/features/encryption').then(
    () => true,
    () => false,
  );
}

/** Probes whether two files of the pool can share data. */
async function canShare(root: number, kernel: Kernel): Promise<boolean> {
  // In the volumes' directory: on btrfs, NOCOW files can share data only with NOCOW files.
  const [from, to] = ['new-share-from', 'new-share-to'].map(
    (file) => `/proc/self/fd/${root}/volumes/${file}`,
  );
  if (from === undefined || to === undefined) return false;
  try {
    await writeFile(from, Buffer.alloc(8192, 1));
    await using source = await open(from, 'r');
    await using target = await open(to, 'w');
    return await kernel.call('cloneFile', source.fd, target.fd);
  } finally {
    for (const file of [from, to]) await rm(file, { force: true });
  }
}
