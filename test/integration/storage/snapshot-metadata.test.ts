import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { BlockMetadata__Output } from '../../../src/rpc/gen/csi/v1/BlockMetadata.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { capability, type CsiLab, startCsiLab } from './csi-lab.ts';
import { requireRoot } from './storage-lab.ts';

const BLOCK = 4096;
const MEBIBYTES = 64;
const device = { volume_capability: capability('SINGLE_NODE_MULTI_WRITER', 'block') };

beforeEach((context) => requireRoot(context));

describe.each(['image', 'btrfs'] as const)('snapshot metadata on backend %s', (backend) => {
  it('lists every changed block, from any offset, and few others', async () => {
    await using csi = await startCsiLab({ backend });
    const id = await csi.createVolume('v', MEBIBYTES, {
      volume_capabilities: [capability('SINGLE_NODE_WRITER', 'block')],
    });
    const target = await csi.publish(id, 'device', device);
    const pick = random(7);
    const snapshots: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      await scribble(target, pick, round);
      snapshots.push(await takeSnapshot(csi, id, `s${round}`));
    }
    await csi.controller('ControllerExpandVolume', {
      volume_id: id,
      capacity_range: { required_bytes: String((MEBIBYTES + 16) << 20) },
    });
    await scribble(target, pick, 9);
    snapshots.push(await takeSnapshot(csi, id, 'grown'));
    // Allocated and unwritten space reads as zeros, and is not listed.
    const contents = await Promise.all(snapshots.map((snapshot) => readFile(fileOf(csi, backend, snapshot))));

    let [different, listed] = [0, 0];
    for (const [newer, after] of contents.entries()) {
      const nothing = Buffer.alloc(after.length);
      const allocated = await ask(csi, 'GetMetadataAllocated', { snapshot_id: snapshots[newer] ?? '' });
      expect(allocated.sizeBytes).toBe(after.length);
      expectCovered(differing(nothing, after), allocated.blocks, `allocated in s${newer}`);
      for (const [older, before] of contents.entries()) {
        if (older > newer) continue;
        const pair = {
          base_snapshot_id: snapshots[older] ?? '',
          target_snapshot_id: snapshots[newer] ?? '',
        };
        const changes = differing(before, after);
        const { blocks } = await ask(csi, 'GetMetadataDelta', pair);
        expectCovered(changes, blocks, `s${older} to s${newer}`);
        if (older === newer) expect(blocks.size).toBe(0);
        different += changes.size;
        listed += blocks.size;
        const offset = pick(after.length);
        const resumed = await ask(csi, 'GetMetadataDelta', { ...pair, starting_offset: String(offset) });
        const rest = [...blocks].filter((block) => block >= Math.floor(offset / BLOCK));
        expect([...resumed.blocks]).toEqual(rest);
      }
    }
    console.log(
      `${backend}: ${different} blocks differ, ${listed} are listed: ${(listed / different).toFixed(3)} of them`,
    );
    expect(different).toBeGreaterThan(500);
    // Blocks rewritten with their old content, and at most the neighbours of others.
    expect(listed).toBeLessThan(different * 1.5);
  });

  it('refuses requests without an answer', async () => {
    await using csi = await startCsiLab({ backend });
    const block = { volume_capabilities: [capability('SINGLE_NODE_WRITER', 'block')] };
    const [one, other] = [await csi.createVolume('a', 16, block), await csi.createVolume('b', 16, block)];
    const files = await csi.createVolume('f', 32);
    const [first, foreign, mounted] = [
      await takeSnapshot(csi, one, 'a1'),
      await takeSnapshot(csi, other, 'b1'),
      await takeSnapshot(csi, files, 'f1'),
    ];
    const allocated = (request: object): Promise<unknown> => ask(csi, 'GetMetadataAllocated', request);
    const delta = (base: string, target: string): Promise<unknown> =>
      ask(csi, 'GetMetadataDelta', { base_snapshot_id: base, target_snapshot_id: target });
    await expect(allocated({ snapshot_id: '' })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(allocated({ snapshot_id: 'x' })).rejects.toMatchObject({ kind: 'not-found' });
    await expect(allocated({ snapshot_id: mounted })).rejects.toMatchObject({ kind: 'precondition' });
    for (const starting of ['-1', String((16 << 20) + 1)]) {
      await expect(allocated({ snapshot_id: first, starting_offset: starting })).rejects.toMatchObject({
        kind: 'out-of-range',
      });
    }
    await expect(delta(first, foreign)).rejects.toMatchObject({ kind: 'invalid' });
    await expect(delta('', first)).rejects.toMatchObject({ kind: 'invalid' });
    await expect(delta(first, one)).rejects.toMatchObject({ kind: 'not-found' });
    expect(await allocated({ snapshot_id: first })).toMatchObject({ sizeBytes: 16 << 20 });
  });
});

/** Writes, rewrites, zeroes and discards at random, as a database on a device does. */
async function scribble(path: string, pick: (below: number) => number, round: number): Promise<void> {
  await using file: FileHandle = await open(path, 'r+');
  const blocks = Number((await runCommand('blockdev', ['--getsize64', path])).stdout) / BLOCK;
  for (let count = 0; count < 60; count += 1) {
    const length = 1 + pick(3) * pick(12);
    await file.write(
      Buffer.alloc(length * BLOCK, 1 + pick(250)),
      0,
      undefined,
      pick(blocks - length) * BLOCK,
    );
  }
  await file.sync();
  const area = (mebibytes: number): string[] => [
    `--offset=${pick(blocks / 256 - mebibytes) << 20}`,
    `--length=${mebibytes << 20}`,
    path,
  ];
  if (round % 2 === 1) await runCommand('blkdiscard', area(2));
  if (round % 3 === 1) await runCommand('blkdiscard', ['--zeroout', ...area(1)]);
}

async function takeSnapshot(csi: CsiLab, volumeId: string, name: string): Promise<string> {
  const { snapshot } = await csi.controller('CreateSnapshot', { name, source_volume_id: volumeId });
  return snapshot?.snapshot_id ?? '';
}

function fileOf({ lab }: CsiLab, backend: 'image' | 'btrfs', id: string): string {
  return join(lab.mountPoint, 'snapshots', backend === 'image' ? `${id}.img` : `${id}/device`);
}

/** Lists the blocks in which two volumes differ; absent blocks are zeros. */
function differing(before: Buffer, after: Buffer): Set<number> {
  const zeros = Buffer.alloc(BLOCK);
  const found = new Set<number>();
  for (let block = 0; block * BLOCK < after.length; block += 1) {
    const [from, to] = [block * BLOCK, (block + 1) * BLOCK];
    const old = from < before.length ? before.subarray(from, to) : zeros;
    if (!old.equals(after.subarray(from, to))) found.add(block);
  }
  return found;
}

/** Calls with few entries per message, and checks the requirements of CSI for every response. */
async function ask(
  csi: CsiLab,
  method: 'GetMetadataAllocated' | 'GetMetadataDelta',
  request: object,
): Promise<{ readonly sizeBytes: number; readonly blocks: Set<number> }> {
  const found: BlockMetadata__Output[] = [];
  let sizeBytes = -1;
  const call = { ...request, max_results: 3 };
  for await (const answer of csi.client.stream('csi.v1.SnapshotMetadata', method, call)) {
    expect(answer.block_metadata_type).toBe('VARIABLE_LENGTH');
    expect(answer.block_metadata.length).toBeLessThanOrEqual(3);
    if (sizeBytes >= 0) expect(Number(answer.volume_capacity_bytes)).toBe(sizeBytes);
    sizeBytes = Number(answer.volume_capacity_bytes);
    found.push(...answer.block_metadata);
  }
  const blocks = new Set<number>();
  let end = -1;
  for (const { byte_offset: offset, size_bytes: size } of found) {
    expect(Number(offset)).toBeGreaterThanOrEqual(end);
    expect(Number(size)).toBeGreaterThan(0);
    end = Number(offset) + Number(size);
    for (let at = Number(offset); at < end; at += BLOCK) blocks.add(Math.floor(at / BLOCK));
  }
  expect(end).toBeLessThanOrEqual(sizeBytes);
  return { sizeBytes, blocks };
}

function expectCovered(wanted: Set<number>, listed: Set<number>, what: string): void {
  expect(
    [...wanted].filter((block) => !listed.has(block)),
    what,
  ).toEqual([]);
}

/** A pseudo-random sequence, the same in every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}
