import { chmod, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../../../src/core/fault.ts';
import type { VolumeShape } from '../../../../src/core/volumes/volume.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { absent } from '../../../linux/files/absent.ts';
import type { VolumeKey } from '../../contract/volume-key.ts';

/**
 * Directory that pods see of an encrypted file system; its root has lost+found and cannot be
 * encrypted.
 */
export const ENCRYPTED_DIRECTORY = 'data';

/** Encrypts one directory of a volume's file system with fscrypt; its key is added while staged. */
export class EncryptedDirectories {
  readonly #kernel: Kernel;

  constructor({ kernel }: { readonly kernel: Kernel }) {
    this.#kernel = kernel;
  }

  /**
   * Ensures that the volume mounted at `place` has its key, and a new volume its directory. Throws
   * `precondition` without `key` unless the kernel has it already.
   */
  async unlock(volume: VolumeShape, place: string, key: VolumeKey | undefined): Promise<void> {
    const directory = join(place, ENCRYPTED_DIRECTORY);
    if (key === undefined) {
      await this.#requireKey(volume, place);
      return;
    }
    await this.#kernel.call('addEncryptionKey', place, key.bytes);
    // Crash window: the directory exists without a policy. It is empty: it was never mounted.
    const isNew = await mkdir(directory, { mode: 0o755 }).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'EEXIST') return false;
        throw error;
      },
    );
    if (isNew) await chmod(directory, 0o755);
    const found = await this.#kernel.call('readEncryptionPolicy', directory);
    if (found === undefined) {
      await this.#kernel.call('setEncryptionPolicy', directory, key.identifier);
    } else if (found !== key.identifier) {
      throw new Fault(
        'precondition',
        `volume ${volume.id} is encrypted with another passphrase than the one in its Secret; restore the first one`,
        { fields: { volumeId: volume.id } },
      );
    }
  }

  /** Removes the key from the file system at `place`. Throws `busy` while files are open. */
  async lock({ id, encryption }: VolumeShape, place: string): Promise<void> {
    const identifier = encryption?.keyIdentifier;
    if (identifier === undefined) return;
    if (await this.#kernel.call('removeEncryptionKey', place, identifier)) return;
    throw new Fault(
      'busy',
      `cannot remove the key of encrypted volume ${id} while its files are open; close them, then retry`,
      { fields: { volumeId: id } },
    );
  }

  /**
   * Requires the policy as well: without it (an interrupted first staging), data would be plain
   * text.
   */
  async #requireKey({ id, encryption }: VolumeShape, place: string): Promise<void> {
    const identifier = encryption?.keyIdentifier;
    if (identifier === undefined || !(await this.#kernel.call('hasEncryptionKey', place, identifier))) {
      throw missingKey(id);
    }
    const directory = join(place, ENCRYPTED_DIRECTORY);
    const exists = (await stat(directory).catch(absent)) !== undefined;
    const policy = exists ? await this.#kernel.call('readEncryptionPolicy', directory) : undefined;
    if (policy !== identifier) throw missingKey(id);
  }
}

/** Returns the error for a volume whose key comes only with its next NodeStageVolume call. */
export function missingKey(volumeId: string): Fault {
  return new Fault(
    'precondition',
    `encrypted volume ${volumeId} has no key in the kernel: stage it again, with its Secret`,
    { fields: { volumeId } },
  );
}
