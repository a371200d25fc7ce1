import type { Pins } from './volume.ts';

/** How btrfs counts: see docs/decisions/0005-btrfs-quota.md. */
export type QuotaMode = 'simple' | 'classic';

/**
 * What keeps a volume within its size: quota groups of btrfs, the size of its file, a project
 * quota, or nothing. Only simple quotas charge a copy's extents to the volume that wrote them; all
 * others charge a copy with all that it references.
 */
export type Enforcement = QuotaMode | 'file' | 'project' | 'none';

/** Anything that may hold extents of a volume: a snapshot, or a volume that was copied from it. */
export interface PinHolder {
  readonly id: string;
  readonly pins: Pins;
}

/**
 * The pins of a copy taken of `parent` when `chargedBytes` were charged to it: the parent's own
 * extents, and whatever the parent shares with those it was copied from itself.
 */
export function pinsOfCopy(parent: PinHolder, chargedBytes: bigint): Pins {
  return { ...parent.pins, [parent.id]: chargedBytes };
}

/**
 * How much of each volume's charge may belong to copies alone. The largest pin is enough: whatever
 * an earlier copy holds was charged when a later one was taken, and counted there.
 */
export function pinnedBytes(holders: Iterable<PinHolder>): Map<string, bigint> {
  const pinned = new Map<string, bigint>();
  for (const { pins } of holders) {
    for (const [volumeId, bytes] of Object.entries(pins)) {
      if (bytes > (pinned.get(volumeId) ?? 0n)) pinned.set(volumeId, bytes);
    }
  }
  return pinned;
}

/** What the kernel is told to allow, so that the volume can always hold `sizeBytes` of its own. */
export function planLimit(mode: Enforcement, sizeBytes: bigint, pinned: bigint): bigint {
  return mode === 'simple' ? sizeBytes + pinned : sizeBytes;
}
