import { describe, expect, it } from 'vitest';
import {
  type BackendFeatures,
  featureWords,
  leastBytes,
  planForm,
  requireCopies,
} from './backend-features.ts';

const image: BackendFeatures = {
  backend: 'image',
  enforcement: 'file',
  volumeModes: ['Filesystem', 'Block'],
  fsTypes: ['ext4', 'xfs'],
  copies: 'constant',
};
const directory: BackendFeatures = {
  backend: 'directory',
  enforcement: 'none',
  volumeModes: ['Filesystem'],
  fsTypes: [],
  copies: 'none',
};
const nothing = { volumeMode: undefined, fsType: undefined };
const block = { volumeMode: 'Block', fsType: undefined } as const;

describe('planForm', () => {
  it.each([
    [
      'a directory with the first file system, for who asks for nothing',
      image,
      nothing,
      undefined,
      'Filesystem',
      'ext4',
    ],
    ['what is asked for', image, { volumeMode: 'Filesystem', fsType: 'xfs' }, undefined, 'Filesystem', 'xfs'],
    ['a device', image, block, undefined, 'Block', undefined],
    ['what the source is', image, nothing, { volumeMode: 'Filesystem', fsType: 'xfs' }, 'Filesystem', 'xfs'],
    ['a device of a device', image, nothing, block, 'Block', undefined],
    ["the pool's own file system", directory, nothing, undefined, 'Filesystem', undefined],
  ] as const)('gives %s', (_, features, wanted, source, volumeMode, fsType) => {
    expect(planForm('p', features, wanted, source)).toEqual({ volumeMode, fsType });
  });

  it.each([
    ['a device of a pool that has none', directory, block, undefined, /makes no Block volumes/],
    [
      'a device with a file system',
      image,
      { volumeMode: 'Block', fsType: 'ext4' },
      undefined,
      /leave fsType/,
    ],
    [
      'a directory of a device',
      image,
      { volumeMode: 'Filesystem', fsType: undefined },
      block,
      /source is a Block/,
    ],
    [
      'a file system that the pool has not',
      image,
      { ...nothing, fsType: 'btrfs' },
      undefined,
      /no btrfs; possible is ext4, xfs/,
    ],
    [
      'another file system than the source',
      image,
      { ...nothing, fsType: 'ext4' },
      { volumeMode: 'Filesystem', fsType: 'xfs' },
      /source has xfs/,
    ],
  ] as const)('refuses %s', (_, features, wanted, source, message) => {
    expect(() => planForm('p', features, wanted, source)).toThrow(message);
  });
});

it('knows the smallest volume of each form', () => {
  expect(leastBytes(image, { volumeMode: 'Filesystem', fsType: 'xfs' })).toBe(300n << 20n);
  expect(leastBytes(image, block)).toBe(1n << 20n);
  expect(leastBytes(directory, { volumeMode: 'Filesystem', fsType: undefined })).toBe(1n << 20n);
});

it('refuses copies where there are none', () => {
  expect(() => requireCopies('p', directory)).toThrow(/no snapshots and no clones/);
  expect(() => requireCopies('p', image)).not.toThrow();
});

it('names the features', () => {
  expect(featureWords(image)).toEqual([
    'block',
    'clone',
    'enforced-size',
    'expand',
    'fs-ext4',
    'fs-xfs',
    'instant-copies',
    'snapshot',
  ]);
  expect(featureWords(directory)).toEqual(['expand']);
});
