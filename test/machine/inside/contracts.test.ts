/**
 * Runs in an emulated machine: backends whose quotas need a kernel that machines of today may lack,
 * and those beside them.
 */
import { describe } from 'vitest';
import type { ContentForm } from '../../../src/core/volumes/volume.ts';
import { describeRealBackend, type RealBackend } from '../../integration/storage/backend-lab.ts';

const files = (fsType: 'btrfs' | 'ext4' | 'xfs'): ContentForm => ({ volumeMode: 'Filesystem', fsType });
const EXT4 = 'mkfs.ext4 -q -F -O quota,project';

/** Directories that the kernel holds to their size. */
const held = (form: ContentForm, place: Pick<RealBackend, 'mkfs' | 'mountedWith'>): RealBackend => ({
  spec: { backend: 'directory' },
  form,
  ...place,
  traits: { copies: false, holdsSize: true },
});

describe.each<[string, RealBackend]>([
  ['directory on an xfs of its own', held(files('xfs'), {})],
  ['directory on a path of xfs', held(files('xfs'), { mkfs: 'mkfs.xfs -q', mountedWith: 'prjquota' })],
  ['directory on a path of ext4', held(files('ext4'), { mkfs: EXT4, mountedWith: 'prjquota' })],
  [
    'btrfs with classic quotas',
    // Before Linux 6.6 a commit shuts out the snapshots that should be cut with it.
    { spec: { quota: 'classic' }, form: files('btrfs'), traits: { mayRefuseCuts: true } },
  ],
  ['image on xfs, ext4', { spec: { backend: 'image' }, form: files('ext4') }],
  ['image on xfs, block', { spec: { backend: 'image' }, form: { volumeMode: 'Block', fsType: undefined } }],
  [
    'image on ext4 (full copies), xfs',
    { spec: { backend: 'image' }, mkfs: 'mkfs.ext4 -q -F', form: files('xfs') },
  ],
])('%s keeps the contract of a volume backend', (_, backend) => {
  describeRealBackend(backend);
});
