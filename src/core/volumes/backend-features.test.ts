import { describe, expect, it } from 'vitest';
import {
  type BackendFeatures,
  featureWords,
  leastBytes,
  makesForm,
  planForm,
  requireAttributes,
  requireCopies,
} from './backend-features.ts';
import { IO_ATTRIBUTES } from './volume-attributes.ts';

const image: BackendFeatures = {
  backend: 'image',
  enforcement: 'file',
  volumeModes: ['Filesystem', 'Block'],
  fsTypes: ['ext4', 'xfs'],
  copies: 'constant',
  attributes: { Filesystem: IO_ATTRIBUTES, Block: IO_ATTRIBUTES },
};
/** One whose first file system cannot be encrypted. */
const encrypting: BackendFeatures = { ...image, fsTypes: ['xfs', 'ext4'], encryptedFsTypes: ['ext4'] };
const encrypted = { volumeMode: 'Filesystem', fsType: 'ext4', encryption: { salt: '00' } } as const;
const directory: BackendFeatures = {
  backend: 'directory',
  enforcement: 'none',
  volumeModes: ['Filesystem'],
  fsTypes: [],
  copies: 'none',
  attributes: { Filesystem: ['quotaInodes'], Block: [] },
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
    ['what can be encrypted', encrypting, { encrypted: true }, undefined, 'Filesystem', 'ext4'],
    ['an encrypted copy of what is encrypted', encrypting, {}, encrypted, 'Filesystem', 'ext4'],
    ["the pool's own file system", directory, nothing, undefined, 'Filesystem', undefined],
  ] as const)('gives %s', (_, features, wanted, source, volumeMode, fsType) => {
    expect(planForm('p', features, wanted, source)).toEqual({ volumeMode, fsType });
  });

  it.each([
    ['a device of a pool that has none', directory, block, undefined, /does not support Block volumes/],
    ['a device with a file system', image, { volumeMode: 'Block', fsType: 'ext4' }, undefined, /omit fsType/],
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
      /does not support btrfs; expected ext4, xfs/,
    ],
    [
      'another file system than the source',
      image,
      { ...nothing, fsType: 'ext4' },
      { volumeMode: 'Filesystem', fsType: 'xfs' },
      /source has xfs/,
    ],
    [
      'encryption that the pool has not',
      image,
      { encrypted: true },
      undefined,
      /does not support encrypted volumes/,
    ],
    [
      'an encrypted device',
      encrypting,
      { ...block, encrypted: true },
      undefined,
      /Block volume cannot be enc/,
    ],
    [
      'encryption that the file system has not',
      encrypting,
      { fsType: 'xfs', encrypted: true },
      undefined,
      /xfs cannot be encrypted; expected ext4/,
    ],
    [
      'an encrypted copy of what is not',
      encrypting,
      { encrypted: true },
      { volumeMode: 'Filesystem', fsType: 'ext4' },
      /source is not encrypted/,
    ],
    ['a plain copy of what is encrypted', encrypting, { encrypted: false }, encrypted, /source is encrypted/],
  ] as const)('refuses %s', (_, features, wanted, source, message) => {
    expect(() => planForm('p', features, wanted, source)).toThrow(message);
  });
});

it.each([
  [image, {}, true],
  [image, { encrypted: true }, false],
  [encrypting, { encrypted: true }, true],
  [encrypting, { encrypted: true, fsType: 'ext4' }, true],
  [encrypting, { encrypted: true, fsType: 'xfs' }, false],
  [encrypting, { encrypted: true, volumeMode: 'Block' }, false],
  [encrypting, { volumeMode: 'Block' }, true],
] as const)('knows whether a pool makes what is wanted (%#)', (features, wanted, expected) => {
  expect(makesForm(features, { ...nothing, ...wanted })).toBe(expected);
});

it('returns the minimum size of each form', () => {
  expect(leastBytes(image, { volumeMode: 'Filesystem', fsType: 'xfs' })).toBe(300n << 20n);
  expect(leastBytes(image, block)).toBe(1n << 20n);
  expect(leastBytes(directory, { volumeMode: 'Filesystem', fsType: undefined })).toBe(1n << 20n);
});

it('refuses copies in a pool that does not support them', () => {
  expect(() => requireCopies('p', directory)).toThrow(/does not support snapshots and clones/);
  expect(() => requireCopies('p', image)).not.toThrow();
});

it('names the backend that supports a refused attribute', () => {
  const io = { readIOPS: 100n };
  expect(() => requireAttributes('p', image, 'Block', io)).not.toThrow();
  expect(() => requireAttributes('p', directory, 'Filesystem', { quotaInodes: 100n })).not.toThrow();
  expect(() => requireAttributes('p', directory, 'Filesystem', io)).toThrow(
    /does not support readIOPS of a Filesystem volume; I\/O limits need backend image/,
  );
  expect(() => requireAttributes('p', image, 'Filesystem', { quotaInodes: 100n })).toThrow(
    /does not support quotaInodes .* backend directory/,
  );
});

it('names the features', () => {
  expect(featureWords(image, { limitsIo: false })).toEqual([
    'block',
    'clone',
    'enforced-size',
    'expand',
    'fs-ext4',
    'fs-xfs',
    'instant-copies',
    'snapshot',
  ]);
  expect(featureWords(image, { limitsIo: true })).toEqual(
    expect.arrayContaining(['block-io-limits', 'io-limits']),
  );
  expect(featureWords(encrypting, { limitsIo: false })).toContain('encryption');
  expect(featureWords(directory, { limitsIo: true })).toEqual(['expand', 'inode-limits']);
});
