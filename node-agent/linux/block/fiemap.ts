import type { DataExtent, ExtentList } from '../../../src/core/volumes/block-map.ts';
import { checked, libc } from '../libc/libc.ts';

/** Kernel interface: include/uapi/linux/fiemap.h, Documentation/filesystems/fiemap.rst. */
const FS_IOC_FIEMAP = 0xc020660b;
const HEADER_BYTES = 32;
const EXTENT_BYTES = 56;
/** Flag: flushes dirty data first, so that every extent has a location. */
const FLAG_SYNC = 1;
const EXTENT_LAST = 0x1;
const EXTENT_UNWRITTEN = 0x800;
/**
 * Flags of extents whose location does not identify their content: unknown, delayed, encoded,
 * encrypted, not aligned, inline or tail-packed.
 */
const EXTENT_PLACELESS = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;

/**
 * Lists the extents of a file from `start` on without reading data: at most `limit` extents, and
 * never beyond `size`. The list ends at its last complete extent, or at `size`.
 */
export function readExtents(fd: number, start: bigint, size: bigint, limit = 4096): ExtentList {
  const args = Buffer.alloc(HEADER_BYTES + limit * EXTENT_BYTES);
  args.writeBigUInt64LE(start, 0);
  args.writeBigUInt64LE(size - start, 8);
  args.writeUInt32LE(FLAG_SYNC, 16);
  args.writeUInt32LE(limit, 24);
  checked(libc.ioctl(fd, FS_IOC_FIEMAP, args) as number, 'FS_IOC_FIEMAP');
  const count = args.readUInt32LE(20);
  const extents: DataExtent[] = [];
  let reportedEnd = size;
  for (let index = 0; index < count; index += 1) {
    const at = HEADER_BYTES + index * EXTENT_BYTES;
    const logical = args.readBigUInt64LE(at);
    const physical = args.readBigUInt64LE(at + 8);
    const logicalEnd = logical + args.readBigUInt64LE(at + 16);
    const flags = args.readUInt32LE(at + 40);
    if (index === limit - 1 && (flags & EXTENT_LAST) === 0 && logicalEnd < size) reportedEnd = logicalEnd;
    // The kernel reports whole extents at both ends.
    const from = logical < start ? start : logical;
    const end = logicalEnd > size ? size : logicalEnd;
    if (end <= from || (flags & EXTENT_UNWRITTEN) !== 0) continue;
    extents.push({
      start: from,
      end,
      physical: (flags & EXTENT_PLACELESS) !== 0 ? undefined : physical + (from - logical),
    });
  }
  return { start, end: reportedEnd, extents };
}
