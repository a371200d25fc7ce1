import { mkdir, open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { startProcess } from '../../../src/runtime/child-process.ts';
import type { ContentForm } from '../../../src/core/volumes/volume.ts';
import { MIB, requireRoot, type StorageLab, startStorageLab } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

const VOLUMES = 3;
const ROUNDS = 8;
const NUMBERS = 'numbers';

/** Volumes with a writer that writes to all in turn. */
class Writers implements AsyncDisposable {
  readonly lab: StorageLab;
  readonly form: ContentForm;
  /** In the order of writing. */
  readonly volumeIds: string[] = [];
  readonly #targets: string[] = [];
  readonly #cleanup = new AsyncDisposableStack();

  constructor(lab: StorageLab, form: ContentForm) {
    this.lab = lab;
    this.form = form;
  }

  async start(count = VOLUMES): Promise<void> {
    for (let number = 0; number < count; number += 1) {
      const { id } = await this.lab.storage.volumes.create({
        name: `v${number}`,
        pool: undefined,
        range: { requiredBytes: 16n * MIB, limitBytes: 0n },
        source: undefined,
        ...this.form,
      });
      const target = await this.lab.publish(id, `target-${number}`);
      if (this.form.volumeMode === 'Filesystem') await writeFile(join(target, NUMBERS), Buffer.alloc(4096));
      this.volumeIds.push(id);
      this.#targets.push(target);
    }
    this.#cleanup.use(
      await startProcess({
        name: 'writer',
        file: process.execPath,
        args: [
          join(import.meta.dirname, 'group-writer.ts'),
          ...this.#targets.map((path) => this.#fileAt(path)),
        ],
        logFile: join(this.lab.directory, 'writer.log'),
      }),
    );
    await this.advance();
  }

  /** Resolves when the writer has written to all volumes at least once more. */
  async advance(): Promise<void> {
    const now = await this.#read(this.#targets.at(-1) ?? '');
    await expect
      .poll(() => this.#read(this.#targets.at(-1) ?? ''), { interval: 5 })
      .toBeGreaterThan(now + 1n);
  }

  /** Returns the numbers in volumes restored from the snapshots, in the order of writing. */
  async restore(
    snapshots: readonly { readonly id: string; readonly sourceVolumeId: string }[],
  ): Promise<bigint[]> {
    const { storage, directory } = this.lab;
    const numbers: bigint[] = [];
    for (const volumeId of this.volumeIds) {
      const snapshot = snapshots.find(({ sourceVolumeId }) => sourceVolumeId === volumeId);
      const { id } = await storage.volumes.create({
        name: `restored-${snapshot?.id}`,
        pool: undefined,
        range: { requiredBytes: 0n, limitBytes: 0n },
        source: { kind: 'snapshot', id: snapshot?.id ?? '' },
      });
      const target = await this.lab.publish(id, `restored-${id}`);
      numbers.push(await this.#read(target));
      await storage.staging.unpublish(id, target);
      await storage.staging.unstage(id, join(directory, 'staging'));
      await storage.volumes.delete(id);
    }
    return numbers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }

  async #read(target: string): Promise<bigint> {
    await using file = await open(this.#fileAt(target));
    const buffer = Buffer.alloc(8);
    await file.read(buffer, 0, buffer.length, 0);
    return buffer.readBigUInt64LE(0);
  }

  #fileAt(target: string): string {
    return this.form.volumeMode === 'Block' ? target : join(target, NUMBERS);
  }
}

/** Whether these numbers can be those of one instant. */
function isOrdered(numbers: readonly bigint[]): boolean {
  const first = numbers[0] ?? 0n;
  const last = numbers.at(-1) ?? 0n;
  return numbers.every((number, index) => number <= (numbers[index - 1] ?? number)) && first - last <= 1n;
}

const files = (fsType: 'btrfs' | 'ext4' | 'xfs'): ContentForm => ({ volumeMode: 'Filesystem', fsType });
const devices: ContentForm = { volumeMode: 'Block', fsType: undefined };

describe.each([
  ['btrfs with simple quotas', { quota: 'simple' }, files('btrfs')],
  ['btrfs with classic quotas', { quota: 'classic' }, files('btrfs')],
  ['btrfs, block', {}, devices],
  ['image, ext4', { backend: 'image' }, files('ext4')],
] as const)('%s: group snapshots', (_, options, form) => {
  it(`show one instant of ${VOLUMES} volumes that are written to in turn, ${ROUNDS} times`, async () => {
    await using lab = await startStorageLab({ ...options, poolBytes: 2048n * MIB });
    await using writers = new Writers(lab, form);
    await writers.start();
    const seen: bigint[][] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      await writers.advance();
      const group = await lab.storage.groups.create(`g${round}`, writers.volumeIds);
      await writers.advance();
      seen.push(await writers.restore(group.members));
      await lab.storage.groups.delete(group.id, []);
    }
    expect(seen.filter((numbers) => !isOrdered(numbers))).toEqual([]);
    expect(new Set(seen.map(([first]) => first)).size).toBe(ROUNDS);
    expect(await lab.storage.health.report()).toMatchObject({ orphans: [], snapshots: [] });
  });
});

it('snapshots that are created one after the other show several instants, which the test detects', async () => {
  await using lab = await startStorageLab();
  await using writers = new Writers(lab, files('btrfs'));
  await writers.start(2);
  const [first = '', second = ''] = writers.volumeIds;
  const before = await lab.storage.snapshots.create('before', first);
  await writers.advance();
  const after = await lab.storage.snapshots.create('after', second);
  expect(isOrdered(await writers.restore([before, after]))).toBe(false);
});

it('an interrupted group snapshot leaves a directory, which is collected', async () => {
  await using lab = await startStorageLab();
  const snapshots = join(lab.mountPoint, 'snapshots');
  const id = `snap-${'0'.repeat(24)}`;
  const volume = await lab.storage.volumes.create({
    name: 'v',
    pool: undefined,
    range: { requiredBytes: 16n * MIB, limitBytes: 0n },
    source: undefined,
  });
  await using root = await open(lab.mountPoint);
  await mkdir(join(snapshots, `cut-${id}`));
  await lab.kernel.call('snapshotSubvolume', root.fd, `volumes/${volume.id}`, `snapshots/cut-${id}`, id, {
    readonly: false,
  });
  const stop = new AbortController();
  const collecting = lab.storage.run(stop.signal);
  await expect.poll(() => readdir(snapshots)).toEqual([]);
  stop.abort();
  await collecting;
});
