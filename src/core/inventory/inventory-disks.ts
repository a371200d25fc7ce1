import { toWord } from './inventory-parse.ts';
import type { DiskFacts } from './inventory.ts';
import { formatQuantity } from '../kube-text/quantity.ts';

/** One entry of /sys/block, as read. */
export interface BlockDevice {
  readonly name: string;
  /** `size`: sectors of 512 bytes, whatever the disk's own size. */
  readonly sectors: string | undefined;
  readonly rotational: string | undefined;
  readonly model: string | undefined;
  /** Whether it is backed by hardware; loop, ram and device-mapper devices are not. */
  readonly hasDevice: boolean;
  /** Number of partitions and stacked devices. */
  readonly parts: number;
  /** `dev`: major:minor. */
  readonly number: string | undefined;
}

/**
 * Optical and floppy drives, and devices built on other devices or memory, do not count as disks.
 */
const NO_DISK = /^(loop|ram|zram|dm-|md|sr|fd|nbd|drbd|rbd)/;

/**
 * Returns the disk of a block device; undefined when it is not a disk, or has no medium. `mounted`
 * has the numbers of mounted devices.
 */
export function describeDisk(device: BlockDevice, mounted: ReadonlySet<string>): DiskFacts | undefined {
  const { name, parts, number } = device;
  const sectors = BigInt(/^\d+$/.exec(device.sectors?.trim() ?? '')?.[0] ?? 0);
  if (NO_DISK.test(name) || !device.hasDevice || sectors === 0n) return undefined;
  const rotational = device.rotational?.trim() === '1';
  const model = toWord(device.model);
  const used = parts > 0 || (number !== undefined && mounted.has(number.trim()));
  return {
    name,
    type: diskType(name, rotational, model),
    rotational,
    size: formatQuantity(sectors * 512n),
    ...(model === undefined ? {} : { model }),
    ...(used ? { inUse: true as const } : {}),
  };
}

/** The rotational flag of virtual disks is whatever the hypervisor sets, so their names decide. */
function diskType(name: string, rotational: boolean, model: string | undefined): DiskFacts['type'] {
  if (/^(vd|xvd|ubd|dasd)/.test(name) || /\b(QEMU|VBOX|VMware|Virtual|Msft)\b/i.test(model ?? ''))
    return 'virtual';
  if (name.startsWith('nvme')) return 'nvme';
  return rotational ? 'hdd' : 'ssd';
}
