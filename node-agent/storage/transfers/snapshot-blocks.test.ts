import { describe, expect, it } from 'vitest';
import type { BlockRange, DataExtent } from '../../../src/core/volumes/block-map.ts';
import type { Snapshot } from '../../../src/core/volumes/volume.ts';
import { FakePool, createFakeDisk, openFakeRecords, fixedPools } from '../../../test/fakes/fake-storage.ts';
import type { BlockMap } from '../contract/block-map.ts';
import { Ledger } from '../records/ledger.ts';
import { SnapshotBlockReader } from './snapshot-blocks.ts';

const BLOCK = 4096;
/** Of each block of a file: which block of the disk has it; 0 for zeros. */
type Layout = readonly number[];

const snapshot = (id: string, more: Partial<Snapshot> = {}): Snapshot => ({
  id,
  name: id,
  pool: 'default',
  sourceVolumeId: 'vol-1',
  sizeBytes: 0n,
  volumeMode: 'Block',
  fsType: undefined,
  phase: 'ready',
  createdAtMs: 1,
  pins: {},
  ...more,
});

/** A file of this layout, told by at most `step` extents at a time. */
function mapOf(layout: () => Layout, step: number, onRead: () => void): BlockMap {
  return {
    sizeBytes: BigInt(layout().length * BLOCK),
    async read(start) {
      onRead();
      const blocks = layout();
      const extents: DataExtent[] = [];
      let index = Number(start) / BLOCK;
      for (; index < blocks.length && extents.length < step; index += 1) {
        const place = blocks[index] ?? 0;
        if (place === 0) continue;
        const at = BigInt(index * BLOCK);
        extents.push({ start: at, end: at + BigInt(BLOCK), physical: BigInt(place * BLOCK) });
      }
      return { start, end: BigInt(index * BLOCK), extents };
    },
    readBytes: () => Promise.reject(new Error('data is not read')),
    async [Symbol.asyncDispose]() {},
  };
}

function readerOf(
  layouts: Readonly<Record<string, () => Layout>>,
  { step = 1000, onRead = () => undefined }: { readonly step?: number; readonly onRead?: () => void } = {},
  snapshots: readonly Snapshot[] = Object.keys(layouts).map((id) => snapshot(id)),
): SnapshotBlockReader {
  const disk = createFakeDisk();
  for (const record of snapshots) disk.snapshots.set(record.id, record);
  const pool = Object.assign(new FakePool(), {
    blockMaps: {
      open: async (id: string) => {
        const layout = layouts[id];
        return layout && mapOf(layout, step, onRead);
      },
    },
  });
  const records = openFakeRecords(disk);
  return new SnapshotBlockReader({ records, ledger: new Ledger({ pools: fixedPools([pool]), records }) });
}

async function read(
  reader: SnapshotBlockReader,
  baseId: string | undefined,
  startOffset = 0n,
): Promise<BlockRange[]> {
  await using blocks = await reader.open({ snapshotId: 'new', baseId, startOffset });
  const ranges: BlockRange[] = [];
  for await (const range of blocks.ranges()) ranges.push(range);
  return ranges;
}

const blocksOf = (ranges: readonly BlockRange[]): number[] =>
  ranges.flatMap(({ start, end }) =>
    Array.from({ length: Number(end - start) / BLOCK }, (_, index) => Number(start) / BLOCK + index),
  );

/** The same numbers in every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

describe('blocks of a snapshot', () => {
  it('are those that hold data, or that differ in location from the base, in lists of any length', async () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const pick = random(seed);
      const base = Array.from({ length: 20 + pick(40) }, () => pick(3) * pick(1000));
      const target = [...base, ...Array.from({ length: pick(20) }, () => pick(2) * pick(1000))].map(
        (place) => (pick(4) === 0 ? pick(2) * (2000 + pick(1000)) : place),
      );
      const reader = readerOf({ new: () => target, old: () => base }, { step: 1 + pick(7) });
      const from = pick(target.length);
      const startOffset = BigInt(from * BLOCK + pick(BLOCK));
      const expected = (wanted: (place: number, index: number) => boolean): number[] =>
        target.flatMap((place, index) => (index >= from && wanted(place, index) ? [index] : []));
      const allocated = await read(reader, undefined, startOffset);
      expect(blocksOf(allocated)).toEqual(expected((place) => place !== 0));
      const changed = await read(reader, 'old', startOffset);
      expect(blocksOf(changed)).toEqual(expected((place, index) => place !== (base[index] ?? 0)));
      for (const ranges of [allocated, changed]) {
        // Joined: the next one never touches the one before.
        ranges
          .slice(1)
          .forEach((range, index) => expect(range.start > (ranges[index]?.end ?? 0n)).toBe(true));
        expect((ranges[0]?.end ?? startOffset + 1n) > startOffset).toBe(true);
      }
    }
  });

  it('are read again while the file system moves the base', async () => {
    // Between the two looks the base goes from 7 to 9, and what is new in the target comes to lie
    // at 7.
    let reads = 0;
    const moving = { new: () => [7], old: () => (reads <= 1 ? [7] : [9]) };
    expect(blocksOf(await read(readerOf(moving, { onRead: () => void (reads += 1) }), 'old'))).toEqual([0]);
    let restless = 0;
    const never = readerOf({ new: () => [7], old: () => [(restless += 1)] });
    await expect(read(never, 'old')).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('are refused where they are unknown', async () => {
    const layouts = { new: () => [1, 2], old: () => [1, 2] };
    await expect(read(readerOf({ new: layouts.new }), 'old')).rejects.toMatchObject({ kind: 'not-found' });
    await expect(read(readerOf(layouts), 'old', 8193n)).rejects.toMatchObject({ kind: 'out-of-range' });
    await expect(read(readerOf(layouts), 'old', -1n)).rejects.toMatchObject({ kind: 'out-of-range' });
    expect(await read(readerOf(layouts), 'old', 8192n)).toEqual([]);
    const given = (old: Partial<Snapshot>, target: Partial<Snapshot> = {}): SnapshotBlockReader =>
      readerOf(layouts, {}, [snapshot('old', old), snapshot('new', target)]);
    await expect(read(given({ sourceVolumeId: 'vol-2' }), 'old')).rejects.toMatchObject({ kind: 'invalid' });
    await expect(read(given({ createdAtMs: 2 }), 'old')).rejects.toThrow(/newer than target/);
    await expect(read(given({}, { volumeMode: 'Filesystem' }), undefined)).rejects.toMatchObject({
      kind: 'precondition',
    });
    await expect(read(given({}, { phase: 'deleting' }), undefined)).rejects.toMatchObject({
      kind: 'not-found',
    });
  });
});
