import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ContentForm, Volume } from '../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { MIB, requireRoot, type StorageLab, startStorageLab } from './storage-lab.ts';

const DEVICE: ContentForm = { volumeMode: 'Block', fsType: undefined };
const files = (fsType: 'btrfs' | 'ext4' | 'xfs'): ContentForm => ({ volumeMode: 'Filesystem', fsType });
const never = new AbortController().signal;

beforeEach((context) => requireRoot(context));

describe.each([
  ['btrfs', files('btrfs')],
  ['btrfs', DEVICE],
  ['image', files('ext4')],
  ['image', DEVICE],
] as const)('a volume of backend %s that moves (%o)', (backend, form) => {
  it('is imported completely, with later differences on top', async () => {
    await using from = await startStorageLab({ backend });
    await using to = await startStorageLab({ backend });
    const id = await make(from, 'v', form);
    await write(from, id, 'one');
    const first = await from.storage.snapshots.create('s1', id);
    await write(from, id, 'two');
    const second = await from.storage.snapshots.create('s2', id);
    await write(from, id, 'three');

    const whole = await take(from, 's1');
    const difference = await take(from, second.id, first.id);
    const now = await take(from, 'v');
    expect((await from.storage.health.report()).snapshots).toHaveLength(2);

    await expect(bring(to, 'early', difference)).rejects.toMatchObject({ kind: 'precondition' });
    const one = await bring(to, 'one', whole, { keepBase: true });
    expect(await read(to, one.id)).toEqual(['one']);
    await write(to, one.id, 'of its own');
    const two = await bring(to, 'two', difference, { keepBase: true });
    expect(await read(to, two.id)).toEqual(['one', 'two']);
    const three = await bring(to, 'three', now);
    expect(await read(to, three.id)).toEqual(['one', 'three', 'two']);
    expect(three).toMatchObject({ ...form, sizeBytes: 64n * MIB, phase: 'ready' });
    expect(await read(to, one.id)).toEqual(['of its own', 'one']);

    for (const [name, stream, keepBase, id] of [
      ['one', whole, true, one.id],
      ['three', now, false, three.id],
    ] as const) {
      expect(await bring(to, name, stream, { keepBase }), 'asked again').toMatchObject({ id });
    }
    await expect(bring(to, 'three', now.subarray(0, -60))).rejects.toMatchObject({ kind: 'invalid' });
    await expect(bring(to, 'again', whole)).rejects.toMatchObject({ kind: 'conflict' });
    await expect(bring(to, 'one', now)).rejects.toMatchObject({ kind: 'conflict' });
    const { volumes, snapshots } = await to.storage.health.report();
    expect(volumes).toHaveLength(3);
    expect(snapshots.map((snapshot) => snapshot.id).sort()).toEqual([first.id, second.id].sort());
  });

  it('leaves nothing behind when its stream is damaged, truncated or aborted', async () => {
    await using from = await startStorageLab({ backend });
    await using to = await startStorageLab({ backend });
    const id = await make(from, 'v', form);
    await write(from, id, 'one');
    const stream = await take(from, 'v');
    const damagedAt = (offset: number): Buffer => {
      const copy = Buffer.from(stream);
      copy.writeUInt8(copy.readUInt8(offset) ^ 1, offset);
      return copy;
    };
    const bad = [
      damagedAt(5),
      damagedAt(40),
      damagedAt(Math.floor(stream.length / 2)),
      damagedAt(stream.length - 10),
      stream.subarray(0, stream.length / 2),
      stream.subarray(0, stream.length - 52),
      Buffer.concat([stream, Buffer.from('x')]),
      Buffer.alloc(0),
    ];
    for (const [index, broken] of bad.entries()) {
      await expect(bring(to, `bad-${index}`, broken), `stream ${index}`).rejects.toMatchObject({
        kind: 'invalid',
      });
    }
    const stop = new AbortController();
    const given = (async function* () {
      yield stream.subarray(0, stream.length - 60);
      stop.abort(new DOMException('enough', 'AbortError'));
      yield stream.subarray(stream.length - 60);
    })();
    const request = { name: 'late', pool: undefined, keepBase: true, input: given, signal: stop.signal };
    await expect(to.storage.transfers.import(request)).rejects.toThrow();
    expect(await to.storage.health.report()).toMatchObject({ volumes: [], snapshots: [], orphans: [] });
    for (const kind of ['volumes', 'snapshots']) {
      const left = await readdir(join(to.mountPoint, kind));
      expect(left.filter((name) => !name.startsWith('trash-'))).toEqual([]);
    }
    expect(await read(to, (await bring(to, 'good', stream)).id)).toEqual(['one']);
  });
});

it('keeps holes as holes, and encrypted volumes encrypted', async () => {
  await using from = await startStorageLab({ backend: 'image' });
  await using to = await startStorageLab({ backend: 'image' });
  const request = { pool: undefined, range: { requiredBytes: 64n * MIB, limitBytes: 0n }, source: undefined };
  const { id, encryption } = await from.storage.volumes.create({ name: 'v', ...request, encrypted: true });
  const stream = await take(from, 'v');
  expect(stream.length).toBeLessThan(8 << 20);
  const brought = await bring(to, 'v', stream);
  expect(brought.encryption).toEqual(encryption);
  expect(brought.id).not.toBe(id);
  const { stdout } = await runCommand('stat', [
    '--format=%b',
    join(to.mountPoint, 'volumes', `${brought.id}.img`),
  ]);
  expect(Number(stdout) * 512).toBeLessThan(8 << 20);
});

it('is imported only into a pool of its backend, a Block volume into any', async () => {
  await using from = await startStorageLab({ backend: 'btrfs' });
  await using to = await startStorageLab({ backend: 'image' });
  await make(from, 'files', files('btrfs'));
  const device = await make(from, 'device', DEVICE);
  await write(from, device, 'one');
  await expect(bring(to, 'files', await take(from, 'files'))).rejects.toMatchObject({ kind: 'exhausted' });
  await expect(bring(to, 'files', await take(from, 'files'), { pool: 'default' })).rejects.toThrow(
    /no storage pool for btrfs/,
  );
  expect(await read(to, (await bring(to, 'device', await take(from, 'device'))).id)).toEqual(['one']);
  await expect(take(from, 'nothing')).rejects.toMatchObject({ kind: 'not-found' });
  await expect(take(from, 'device', 'nothing')).rejects.toMatchObject({ kind: 'not-found' });
  await from.storage.snapshots.create('s', device);
  await expect(take(from, 'files', 's')).rejects.toThrow(/not an older snapshot of the volume/);
});

it('removes the temporary snapshot of an export after the agent was killed', async () => {
  await using lab = await startStorageLab({ backend: 'image' });
  await write(lab, await make(lab, 'v', DEVICE), 'one');
  await using exported = await lab.storage.transfers.export({
    source: 'v',
    parent: undefined,
    signal: never,
  });
  await exported.chunks().next();
  expect(await readdir(join(lab.stateDir, 'snapshots'))).toHaveLength(1);
  expect((await lab.storage.health.report()).snapshots).toEqual([]);
  await lab.restart();
  expect(await readdir(join(lab.stateDir, 'snapshots'))).toEqual([]);
});

async function make(lab: StorageLab, name: string, form: ContentForm): Promise<string> {
  const range = { requiredBytes: 64n * MIB, limitBytes: 0n };
  return (await lab.storage.volumes.create({ name, pool: undefined, range, source: undefined, ...form })).id;
}

/** Returns the whole stream of an export. */
async function take(lab: StorageLab, source: string, parent?: string): Promise<Buffer> {
  await using exported = await lab.storage.transfers.export({ source, parent, signal: never });
  return Buffer.concat(await Array.fromAsync(exported.chunks()));
}

async function bring(
  lab: StorageLab,
  name: string,
  stream: Buffer,
  more: { readonly keepBase?: boolean; readonly pool?: string } = {},
): Promise<Volume> {
  const input = (async function* () {
    // In chunks that match no frame.
    for (let at = 0; at < stream.length; at += 70_001) yield stream.subarray(at, at + 70_001);
  })();
  return await lab.storage.transfers.import({
    name,
    pool: undefined,
    keepBase: false,
    ...more,
    input,
    signal: never,
  });
}

/** Adds a name: a file, or a block of a device. */
async function write(lab: StorageLab, id: string, name: string): Promise<void> {
  await shown(lab, id, async (target, isDevice) => {
    if (!isDevice) {
      await writeFile(join(target, name), name.repeat(10_000));
      return;
    }
    await using device = await open(target, 'r+');
    const place = (await names(target)).length * 4096 * 7;
    await device.write(Buffer.concat([Buffer.from(name)], 4096), 0, 4096, place);
    await device.sync();
  });
}

async function read(lab: StorageLab, id: string): Promise<string[]> {
  return await shown(lab, id, async (target, isDevice) => {
    if (isDevice) return (await names(target)).sort();
    const found = (await readdir(target)).filter((name) => name !== 'lost+found').sort();
    for (const name of found) expect(await readFile(join(target, name), 'utf8')).toBe(name.repeat(10_000));
    return found;
  });
}

async function names(device: string): Promise<string[]> {
  const content = await readFile(device);
  const found: string[] = [];
  for (let at = 0; at < content.length; at += 4096) {
    const block = content.subarray(at, at + 4096);
    if (block[0] !== 0) found.push(block.subarray(0, block.indexOf(0)).toString('utf8'));
  }
  return found;
}

async function shown<T>(
  lab: StorageLab,
  id: string,
  use: (target: string, isDevice: boolean) => Promise<T>,
): Promise<T> {
  const target = await lab.publish(id, `target-${id}`);
  try {
    return await use(target, lab.storage.volumes.get(id).volumeMode === 'Block');
  } finally {
    await lab.storage.staging.unpublish(id, target);
    await lab.storage.staging.unstage(id, join(lab.directory, 'staging'));
    await rm(target, { recursive: true, force: true });
  }
}
