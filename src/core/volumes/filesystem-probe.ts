import type { FsType } from './volume.ts';

/** A file system, by its superblock. */
export interface FoundFilesystem {
  readonly type: FsType;
  readonly sizeBytes: bigint;
}

/** Size of the head, and of the tail, that `probeFilesystem` and `probeSignature` read. */
export const PROBE_BYTES = 68 * 1024;

const BTRFS_SUPER = 64 * 1024;
const EXT_SUPER = 1024;
const EXT_INCOMPAT_64BIT = 0x80;

/**
 * Returns the file system of `head`, the first PROBE_BYTES; undefined for a type that pools and
 * volumes do not have.
 */
export function probeFilesystem(head: Uint8Array): FoundFilesystem | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (textAt(head, 0, 4) === 'XFSB') {
    return { type: 'xfs', sizeBytes: view.getBigUint64(8) * BigInt(view.getUint32(4)) };
  }
  if (textAt(head, BTRFS_SUPER + 0x40, 8) === '_BHRfS_M') {
    return { type: 'btrfs', sizeBytes: view.getBigUint64(BTRFS_SUPER + 0x70, true) };
  }
  if (isExt(view)) {
    const wide = (view.getUint32(EXT_SUPER + 0x60, true) & EXT_INCOMPAT_64BIT) !== 0;
    const high = wide ? BigInt(view.getUint32(EXT_SUPER + 0x150, true)) : 0n;
    const blocks = (high << 32n) | BigInt(view.getUint32(EXT_SUPER + 4, true));
    return { type: 'ext4', sizeBytes: blocks << BigInt(10 + view.getUint32(EXT_SUPER + 0x18, true)) };
  }
  return undefined;
}

function isExt(view: DataView): boolean {
  return view.byteLength >= EXT_SUPER + 0x400 && view.getUint16(EXT_SUPER + 0x38, true) === 0xef53;
}

/** Signatures of other software on a device: name, offset, bytes. */
const SIGNATURES: readonly (readonly [name: string, offset: number, bytes: string])[] = [
  ['LUKS', 0, 'LUKS\xba\xbe'],
  ['LUKS (second header)', 16384, 'SKUL\xba\xbe'],
  ['LVM physical volume', 512, 'LABELONE'],
  ['LVM physical volume', 0, 'LABELONE'],
  ['LVM physical volume', 1024, 'LABELONE'],
  ['LVM physical volume', 1536, 'LABELONE'],
  ['GPT', 512, 'EFI PART'],
  ['GPT', 4096, 'EFI PART'],
  ['NTFS', 3, 'NTFS    '],
  ['exFAT', 3, 'EXFAT   '],
  ['FAT', 54, 'FAT'],
  ['FAT', 82, 'FAT32'],
  ['swap', 4086, 'SWAPSPACE2'],
  ['swap', 65526, 'SWAPSPACE2'],
  ['squashfs', 0, 'hsqs'],
  ['bcache', 4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81'],
  ['bcachefs', 4096 + 24, '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef'],
  ['Linux RAID (1.2)', 4096, '\xfc\x4e\x2b\xa9'],
  ['Linux RAID (1.1)', 0, '\xfc\x4e\x2b\xa9'],
  ['Ceph BlueStore', 0, 'bluestore block device'],
  ['ISO 9660', 32769, 'CD001'],
  ['f2fs', 1024, '\x10\x20\xf5\xf2'],
  ['EROFS', 1024, '\xe2\xe1\xf5\xe0'],
  ['partition table', 510, '\x55\xaa'],
];

/**
 * Returns what is on a device by its first and last PROBE_BYTES: the name of a signature, `data`
 * for other bytes than zeros, undefined for zeros only.
 */
export function probeSignature(head: Uint8Array, tail: Uint8Array): string | undefined {
  const filesystem = probeFilesystem(head);
  if (filesystem !== undefined) return filesystem.type;
  const known = SIGNATURES.find(([, offset, bytes]) => textAt(head, offset, bytes.length) === bytes);
  if (known !== undefined) return known[0];
  // Backup headers of GPT, RAID 0.90 and 1.0 and ZFS are at the end.
  return [head, tail].some((part) => part.some((byte) => byte !== 0)) ? 'data' : undefined;
}

function textAt(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}
