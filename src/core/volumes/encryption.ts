import { Fault } from '../fault.ts';
import type { Volume } from './volume.ts';

/** The key of a Secret that holds a volume's passphrase. */
export const PASSPHRASE_FIELD = 'encryptionPassphrase';

/** Minimum length of a passphrase, against guessing of words. */
const LEAST_CHARACTERS = 16;

/**
 * Parses `encrypted` of a StorageClass; absent is false. Throws `invalid` for anything but a
 * boolean.
 */
export function parseEncrypted(text: string | undefined, field: string): boolean {
  if (text === undefined || text === 'false') return false;
  if (text === 'true') return true;
  throw new Fault('invalid', `${field}: encrypted is ${JSON.stringify(text)}; write "true" or "false"`);
}

/**
 * Returns the passphrase of an encrypted volume from a call's secrets; undefined for an unencrypted
 * volume. Throws `invalid` for an absent or short one. Messages never contain secrets.
 */
export function passphraseFor(
  volume: Pick<Volume, 'id' | 'name' | 'encryption' | 'ephemeral'>,
  secrets: Readonly<Record<string, string>>,
): string | undefined {
  if (volume.encryption === undefined) return undefined;
  const passphrase = Object.hasOwn(secrets, PASSPHRASE_FIELD) ? secrets[PASSPHRASE_FIELD] : undefined;
  const fail = (what: string): Fault =>
    new Fault('invalid', `volume ${volume.id} is encrypted, and ${what}; ${whereSecretIs(volume)}`, {
      fields: { volumeId: volume.id },
    });
  if (passphrase === undefined) {
    const fields = Object.keys(secrets).length;
    throw fail(
      fields === 0
        ? 'no Secret came with the call'
        : `its Secret has no field ${PASSPHRASE_FIELD} among its ${fields}`,
    );
  }
  if (passphrase.length < LEAST_CHARACTERS) {
    throw fail(`${PASSPHRASE_FIELD} in its Secret is shorter than ${LEAST_CHARACTERS} characters`);
  }
  return passphrase;
}

/** Throws `precondition` unless the key is that of the volume's first staging. */
export function requireSameKey(
  volume: Pick<Volume, 'id' | 'name' | 'encryption' | 'ephemeral'>,
  keyIdentifier: string,
): void {
  const known = volume.encryption?.keyIdentifier;
  if (known === undefined || known === keyIdentifier) return;
  throw new Fault(
    'precondition',
    `volume ${volume.id} is encrypted with another passphrase than the one in its Secret; restore the first one, ${whereSecretIs(volume)}`,
    { fields: { volumeId: volume.id } },
  );
}

/** kubelet passes the content of a Secret without its name, which is in the volume's API object. */
function whereSecretIs({ name, ephemeral }: Pick<Volume, 'name' | 'ephemeral'>): string {
  return ephemeral === true
    ? "nodePublishSecretRef of the pod's volume names it"
    : `spec.csi.nodeStageSecretRef of PersistentVolume ${name} names it`;
}
