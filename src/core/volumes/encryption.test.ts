import { describe, expect, it } from 'vitest';
import { parseEncrypted, passphraseFor, requireSameKey } from './encryption.ts';

const volume = { id: 'vol-1', name: 'pvc-1', encryption: { salt: 'ab', keyIdentifier: 'aa' } };
const good = 'a passphrase of many characters';

describe('the passphrase of a volume', () => {
  it('is that of its Secret, for an encrypted volume', () => {
    expect(passphraseFor(volume, { encryptionPassphrase: good, other: 'x' })).toBe(good);
    expect(passphraseFor({ id: 'vol-2', name: 'pvc-2' }, { encryptionPassphrase: good })).toBeUndefined();
  });

  it.each([
    [{}, /no Secret came with the call; spec.csi.nodeStageSecretRef of PersistentVolume pvc-1 names it/],
    [{ secret: good }, /no field encryptionPassphrase among its 1/],
    [{ encryptionPassphrase: 'fifteen letters' }, /shorter than 16 characters/],
    [{ encryptionPassphrase: '' }, /shorter than 16 characters/],
  ])('is requested without revealing secrets: %j', (secrets, words) => {
    expect(() => passphraseFor(volume, secrets)).toThrow(words);
    expect(() => passphraseFor(volume, secrets)).not.toThrow(good);
  });

  it('is in another object for an ephemeral volume', () => {
    expect(() => passphraseFor({ ...volume, ephemeral: true }, {})).toThrow(/nodePublishSecretRef/);
  });
});

it('accepts only the first key', () => {
  expect(() => requireSameKey(volume, 'aa')).not.toThrow();
  expect(() => requireSameKey({ ...volume, encryption: { salt: 'ab' } }, 'bb')).not.toThrow();
  expect(() => requireSameKey(volume, 'bb')).toThrow(/another passphrase.*PersistentVolume pvc-1/);
});

it.each([
  [undefined, false],
  ['false', false],
  ['true', true],
])('reads encrypted: %j', (text, expected) => {
  expect(parseEncrypted(text, 'parameters')).toBe(expected);
});

it.each(['yes', 'True', ''])('refuses encrypted: %j', (text) => {
  expect(() => parseEncrypted(text, 'parameters')).toThrow(/write "true" or "false"/);
});
