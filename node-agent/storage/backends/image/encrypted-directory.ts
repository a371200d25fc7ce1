import { chmod, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../../../src/core/fault.ts';
import type { VolumeShape } from '../../../../src/core/volumes/volume.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { absent } from '../../../linux/files/absent.ts';
import type { VolumeKey } from '../../contract/volume-key.ts';

/**
 * In the file system of an encrypted volume: what pods see. Its root cannot be encrypted, for
 * lost+found is in it.
 */
export const ENCRYPTED_DIRECTORY = 'data';

/**
 * Encrypted volumes: one directory of a file system, and the key that the file system has while its
 * volume is staged (fscrypt).
 */
export class EncryptedDirectories {
  readonly #kernel: Kernel;

  constructor({ kernel }: { readonly kernel: Kernel }) {
    this.#kernel = kernel;
  }

  /**
   * Ensures that the volume that is mounted at `place` can be read; a new one gets its directory.
   * Without a key, it must have it already.
   */
  async unlock(volume: VolumeShape, place: string, key: VolumeKey | undefined): Promise<void> {
    const directory = join(place, ENCRYPTED_DIRECTORY);
    if (key === undefined) {
      await this.#requireKey(volume, place);
      return;
    }
    await this.#kernel.call('addEncryptionKey', place, key.bytes);
    // Crash window: the directory is there, and not encrypted. It is empty then, for nobody has
    // seen it.
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
        `volume ${volume.id} was encrypted with another passphrase than that of its Secret; put the first one back`,
        { fields: { volumeId: volume.id } },
      );
    }
  }

  /** Takes the key from the file system at `place`. Throws `busy` while files are open. */
  async lock({ id, encryption }: VolumeShape, place: string): Promise<void> {
    const identifier = encryption?.keyIdentifier;
    if (identifier === undefined) return;
    if (await this.#kernel.call('removeEncryptionKey', place, identifier)) return;
    throw new Fault(
      'busy',
      `files of encrypted volume ${id} are open, so its key cannot be removed; end what has them open, and this is tried again`,
      { fields: { volumeId: id } },
    );
  }

  /**
   * The key alone does not say that its first staging came to an end: without a policy, what is
   * written would be readable on the disk.
   */
  async #requireKey({ id, encryption }: VolumeShape, place: string): Promise<void> {
    const identifier = encryption?.keyIdentifier;
    if (identifier === undefined || !(await this.#kernel.call('hasEncryptionKey', place, identifier))) {
      throw lacksKey(id);
    }
    const directory = join(place, ENCRYPTED_DIRECTORY);
    const isThere = (await stat(directory).catch(absent)) !== undefined;
    const policy = isThere ? await this.#kernel.call('readEncryptionPolicy', directory) : undefined;
    if (policy !== identifier) throw lacksKey(id);
  }
}

/** A volume is wanted whose key only its next staging brings. */
export function lacksKey(volumeId: string): Fault {
  return new Fault(
    'precondition',
    `encrypted volume ${volumeId} has no key in the kernel: stage it again, with its Secret`,
    { fields: { volumeId } },
  );
}
