import type { Pins } from './volume.ts';

/** The two kinds of btrfs quotas, see docs/decisions/0005-btrfs-quota.md. */
export type QuotaMode = 'simple' | 'classic';

/**
 * What enforces the size of a volume: btrfs quota groups, the size of its file, a project quota, or
 * nothing. Simple quotas charge shared extents to the volume that wrote them; all others charge a
 * copy with all data that it references.
 */
export type Enforcement = QuotaMode | 'file' | 'project' | 'none';

/** A snapshot or volume that may hold extents of other volumes. */
export interface PinHolder {
  readonly id: string;
  readonly pins: Pins;
}

/**
 * Returns the pins of a copy of `parent`, which was charged with `chargedBytes`: the parent's
 * extents, and those that it shares with its own sources.
 */
export function pinsOfCopy(parent: PinHolder, chargedBytes: bigint): Pins {
  return { ...parent.pins, [parent.id]: chargedBytes };
}

/**
 * Returns how much of each volume's charge may belong to copies alone. This is the largest pin:
 * data that an earlier copy holds was charged when a later one was created, and is counted there.
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

/** Returns the kernel's limit for a volume that can always hold `sizeBytes` of its own. */
export function planLimit(mode: Enforcement, sizeBytes: bigint, pinned: bigint): bigint {
  return mode === 'simple' ? sizeBytes + pinned : sizeBytes;
}
