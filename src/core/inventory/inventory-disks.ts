import { toWord } from './inventory-parse.ts';
import type { DiskFacts } from './inventory.ts';
import { formatQuantity } from '../kube-text/quantity.ts';

/** One entry of /sys/block, as read. */
export interface BlockDevice {
  readonly name: string;
  /** `size`: sectors of 512 bytes, whatever the disk's own are. */
  readonly sectors: string | undefined;
  readonly rotational: string | undefined;
  readonly model: string | undefined;
  /** Whether a device stands behind it; loop, ram and device-mapper have none. */
  readonly hasDevice: boolean;
  /** Partitions, and what is stacked upon it. */
  readonly parts: number;
  /** `dev`: major:minor. */
  readonly number: string | undefined;
}

/** Optical and floppy drives, and what is made of other devices or of memory, are no disks of the machine. */
const NO_DISK = /^(loop|ram|zram|dm-|md|sr|fd|nbd|drbd|rbd)/;

/** The disk that a block device is; undefined when it is none, or has no medium. `mounted` holds the numbers of mounted devices. */
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

/** Virtual disks call themselves whatever the hypervisor says about rotation, so their names decide. */
function diskType(name: string, rotational: boolean, model: string | undefined): DiskFacts['type'] {
  if (/^(vd|xvd|ubd|dasd)/.test(name) || /\b(QEMU|VBOX|VMware|Virtual|Msft)\b/i.test(model ?? ''))
    return 'virtual';
  if (name.startsWith('nvme')) return 'nvme';
  return rotational ? 'hdd' : 'ssd';
}
