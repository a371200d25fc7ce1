import { beforeEach, describe } from 'vitest';
import type { ContentForm } from '../../../src/core/volumes/volume.ts';
import { describeRealBackend, type RealBackend } from './backend-lab.ts';
import { requireRoot } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

const files = (fsType: 'btrfs' | 'ext4' | 'xfs'): ContentForm => ({ volumeMode: 'Filesystem', fsType });
const devices: ContentForm = { volumeMode: 'Block', fsType: undefined };

const image = (mkfs: string, form: ContentForm): RealBackend => ({ spec: { backend: 'image' }, mkfs, form });

/**
 * Without enforced sizes; the same suite runs with quotas on a machine whose kernel has them
 * (test/machine).
 */
const unheld = (mkfs: string, form: ContentForm): RealBackend => ({
  spec: { backend: 'directory', enforce: false },
  mkfs,
  form,
  mountedWith: '',
  traits: { copies: false, holdsSize: false },
});

describe.each<[string, RealBackend]>([
  ['btrfs with simple quotas', { spec: { quota: 'simple' }, form: files('btrfs') }],
  ['btrfs with classic quotas', { spec: { quota: 'classic' }, form: files('btrfs') }],
  ['btrfs, block', { spec: {}, form: devices }],
  ['image on xfs, ext4', image('mkfs.xfs', files('ext4'))],
  ['image on xfs, xfs', image('mkfs.xfs', files('xfs'))],
  ['image on xfs, btrfs', image('mkfs.xfs', files('btrfs'))],
  ['image on xfs, block', image('mkfs.xfs', devices)],
  ['image on ext4 (full copies), ext4', image('mkfs.ext4', files('ext4'))],
  ['image on ext4 (full copies), block', image('mkfs.ext4', devices)],
  ['image on btrfs, xfs', image('mkfs.btrfs', files('xfs'))],
  ['directory without quotas on xfs', unheld('mkfs.xfs', files('xfs'))],
  ['directory without quotas on ext4', unheld('mkfs.ext4', files('ext4'))],
  ['directory without quotas on btrfs', unheld('mkfs.btrfs', files('btrfs'))],
])('%s fulfils the contract of a volume backend', (_, backend) => {
  describeRealBackend(backend);
});
