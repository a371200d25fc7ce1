import { expect, test } from 'vitest';
import type { VolumeMode, VolumeShape } from '../../../src/core/volumes/volume.ts';
import { type ModeMounts, mountsByMode } from './mounts-by-mode.ts';

/** Tells which mode was asked for what. */
function telling(mode: VolumeMode, told: string[]): ModeMounts {
  const tell = async (what: string): Promise<undefined> => void told.push(`${mode} ${what}`);
  return {
    attach: () => tell('attach'),
    detach: () => tell('detach'),
    grow: () => tell('grow'),
    flush: () => tell('flush'),
    freeze: async () => {
      await tell('freeze');
      return { [Symbol.asyncDispose]: () => tell('thaw') };
    },
    deviceOf: () => tell('deviceOf'),
    ensureGroup: (_, group) => tell(`ensureGroup ${group}`),
    stats: () => tell('stats'),
    targets: {
      mount: (_, target) => tell(`mount ${target}`),
      unmount: (_, target) => tell(`unmount ${target}`),
      isMounted: async (_, target) => {
        await tell(`isMounted ${target}`);
        return true;
      },
    },
  };
}

const shape = (volumeMode: VolumeMode): VolumeShape =>
  ({ id: 'vol-1', sizeBytes: 1n, volumeMode, fsType: undefined }) satisfies VolumeShape;
const PLAN = { readonly: false, set: 0n, clear: 0n };

test('each volume is handled by the mounts of its mode', async () => {
  const told: string[] = [];
  const mounts = mountsByMode({ Filesystem: telling('Filesystem', told), Block: telling('Block', told) });
  await mounts.attach(shape('Block'));
  await mounts.mount(shape('Filesystem'), '/t', PLAN);
  expect(await mounts.isMounted(shape('Block'), '/d')).toBe(true);
  await mounts.unmount(shape('Filesystem'), '/t');
  await mounts.ensureGroup(shape('Filesystem'), 2000);
  expect(told).toEqual([
    'Block attach',
    'Filesystem mount /t',
    'Block isMounted /d',
    'Filesystem unmount /t',
    'Filesystem ensureGroup 2000',
  ]);
});

test('an unsupported volume mode is an error that names the volume', async () => {
  const mounts = mountsByMode({ Filesystem: telling('Filesystem', []) });
  await expect(mounts.attach(shape('Block'))).rejects.toMatchObject({
    kind: 'unsupported',
    message: 'the pool of volume vol-1 does not support Block volumes',
  });
});
