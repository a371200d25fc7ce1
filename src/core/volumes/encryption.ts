import { Fault } from '../fault.ts';
import type { Volume } from './volume.ts';

/** The field of a Secret that encrypts a volume. */
export const PASSPHRASE_FIELD = 'encryptionPassphrase';

/** Long enough that guessing is slow, also for who writes words. */
const LEAST_CHARACTERS = 16;

/**
 * `encrypted: "true"` of a StorageClass. Throws `invalid` for anything but a boolean; absent is
 * false.
 */
export function parseEncrypted(text: string | undefined, field: string): boolean {
  if (text === undefined || text === 'false') return false;
  if (text === 'true') return true;
  throw new Fault('invalid', `${field}: encrypted is ${JSON.stringify(text)}; write "true" or "false"`);
}

/**
 * The passphrase of an encrypted volume, from the Secret that came with a call; undefined for a
 * volume that is not encrypted. Throws `invalid` when it is missing or short. No message tells what
 * a Secret holds.
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

/** Throws `precondition` when the key is not the one that the volume was first staged with. */
export function requireSameKey(
  volume: Pick<Volume, 'id' | 'name' | 'encryption' | 'ephemeral'>,
  keyIdentifier: string,
): void {
  const known = volume.encryption?.keyIdentifier;
  if (known === undefined || known === keyIdentifier) return;
  throw new Fault(
    'precondition',
    `volume ${volume.id} is encrypted with another passphrase than the one in its Secret; put the first one back, ${whereSecretIs(volume)}`,
    { fields: { volumeId: volume.id } },
  );
}

/**
 * kubelet passes what a Secret holds, and never its name: that is in the object that the volume has
 * in the API.
 */
function whereSecretIs({ name, ephemeral }: Pick<Volume, 'name' | 'ephemeral'>): string {
  return ephemeral === true
    ? "nodePublishSecretRef of the pod's volume names it"
    : `spec.csi.nodeStageSecretRef of PersistentVolume ${name} names it`;
}
