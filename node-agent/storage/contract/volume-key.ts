import { hkdfSync, randomBytes, scrypt } from 'node:crypto';

/** The master key of an encrypted volume. */
export interface VolumeKey {
  readonly bytes: Uint8Array;
  /** The kernel's identifier of the key, hexadecimal; the key cannot be derived from it. */
  readonly identifier: string;
}

/** Size of fscrypt's master key for AES-256-XTS. */
const KEY_BYTES = 64;
const SALT_BYTES = 16;
/** 32 MiB and about 0.1 s per guess of a passphrase. Fixed: another cost derives another key. */
const COST = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 << 20 };
/**
 * fscrypt derives a key's identifier by HKDF-SHA512 without a salt, with this info
 * (fs/crypto/hkdf.c).
 */
const IDENTIFIER_INFO = Buffer.from('fscrypt\0\x01', 'latin1');
const IDENTIFIER_BYTES = 16;

/** Returns a random salt for the key of a new volume, hexadecimal. */
export function newSalt(): string {
  return randomBytes(SALT_BYTES).toString('hex');
}

/** Derives the key of a volume from its passphrase and salt, in 32 MiB and off the main thread. */
export async function deriveKey(passphrase: string, salt: string): Promise<VolumeKey> {
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    scrypt(passphrase, Buffer.from(salt, 'hex'), KEY_BYTES, COST, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
  const name = hkdfSync('sha512', bytes, Buffer.alloc(0), IDENTIFIER_INFO, IDENTIFIER_BYTES);
  return { bytes, identifier: Buffer.from(name).toString('hex') };
}
