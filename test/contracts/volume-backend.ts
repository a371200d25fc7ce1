import { expect, it } from 'vitest';
import type { Pool } from '../../node-agent/storage/contract/pool.ts';
import { RemovalBudget } from '../../node-agent/linux/files/removal-budget.ts';
import { leastBytes } from '../../src/core/volumes/backend-features.ts';
import type { ContentForm, VolumeShape } from '../../src/core/volumes/volume.ts';

/** A pool under test, with access to the content of its volumes. */
export interface BackendUnderTest {
  readonly pool: Pool;
  /** The form of the volumes of this run. */
  readonly form: ContentForm;
  /** Writes and reads as a pod does: at the target of `mount`. */
  write(volume: VolumeShape, text: string): Promise<void>;
  read(volume: VolumeShape): Promise<string>;
  /** Whether a volume can grow while it is attached; default: yes. */
  readonly growsInUse?: boolean;
  /** Writes the given MiB as a pod does; resolves to `ok` or the name of the error. */
  readonly fill?: (volume: VolumeShape, mebibytes: number) => Promise<string>;
}

/** Features of the pool under test, known before it is opened. */
export interface BackendTraits {
  readonly copies: boolean;
  /**
   * Whether the kernel may fail to create snapshots of several volumes at one instant, which are
   * then refused.
   */
  readonly mayRefuseCuts?: boolean | undefined;
  /** Whether a volume cannot be written beyond its size; undefined without `fill`. */
  readonly holdsSize?: boolean | undefined;
}

const MIB = 1n << 20n;
const volumeId = (number: number): string => `vol-${number.toString(16).padStart(24, '0')}`;
const snapshot = (number: number): string => `snap-${number.toString(16).padStart(24, '0')}`;

/** Tests what every backend must do, the fake one included. Each test uses its own ids. */
export function describeBackend(
  under: () => BackendUnderTest,
  { copies, mayRefuseCuts = false, holdsSize }: BackendTraits = { copies: true },
): void {
  const copying = (sentence: string, test: () => Promise<void>): void => {
    if (copies) it(sentence, test);
  };
  const volume = (number: number, sizeBytes = 0n): VolumeShape => {
    const { pool, form } = under();
    const least = leastBytes(pool.backend.features, form);
    const fallback = least > 32n * MIB ? least : 32n * MIB;
    return { id: volumeId(number), sizeBytes: sizeBytes > 0n ? sizeBytes : fallback, ...form };
  };
  const make = async (number: number): Promise<VolumeShape> => {
    const shape = volume(number);
    const { backend } = under().pool;
    await backend.ensureVolume(shape, undefined);
    await backend.setLimit(shape, shape.sizeBytes);
    return shape;
  };
  /** Returns a copy of `from`, which is not read or written until its limit is set. */
  const copy = async (number: number, from: { kind: 'volume' | 'snapshot'; id: string }) => {
    const shape = volume(number);
    const { backend } = under().pool;
    await backend.ensureVolume(shape, from);
    await backend.setLimit(shape, shape.sizeBytes);
    return shape;
  };
  const takeSnapshot = async (id: string, of: VolumeShape): Promise<void> => {
    const { backend, mounts } = under().pool;
    await using _still = await mounts.freeze(of);
    await backend.ensureSnapshot(id, of);
  };

  it('creates an empty volume idempotently', async () => {
    const { backend } = under().pool;
    await make(1);
    await make(1);
    expect((await backend.list()).volumes.filter((id) => id === volumeId(1))).toHaveLength(1);
  });

  it('keeps the data of a volume that is ensured again', async () => {
    const { write, read } = under();
    const shape = await make(2);
    await write(shape, 'kept');
    await make(2);
    expect(await read(shape)).toBe('kept');
  });

  copying('takes a snapshot that later writes do not change', async () => {
    const { write, read } = under();
    const shape = await make(3);
    await write(shape, 'before');
    await takeSnapshot(snapshot(3), shape);
    await write(shape, 'after');
    await takeSnapshot(snapshot(3), shape);
    expect(await read(shape)).toBe('after');
    expect(await read(await copy(103, { kind: 'snapshot', id: snapshot(3) }))).toBe('before');
  });

  copying(
    'cuts snapshots of several volumes, which appear when they are finished and not before',
    async () => {
      const { pool, write, read } = under();
      const sources = [await make(21), await make(22), await make(23)];
      for (const shape of sources) await write(shape, `before ${shape.id}`);
      const ids = [snapshot(21), snapshot(22), snapshot(23)];
      const requests = sources.map((volume, index) => ({ id: ids[index] ?? '', volume }));
      const listed = async (): Promise<string[]> =>
        (await pool.backend.list()).snapshots.filter((id) => ids.includes(id)).sort();
      const cut = async (isFinished: boolean): Promise<void> => {
        await using taking = await pool.backend.prepareSnapshots(requests);
        {
          await using still = new AsyncDisposableStack();
          for (const shape of sources) {
            await pool.mounts.flush(shape);
            still.use(await pool.mounts.freeze(shape));
          }
          await taking.take(new AbortController().signal);
        }
        expect(await listed()).toEqual([]);
        if (isFinished) await taking.finish();
      };
      const refusal = await cut(false).catch((error: unknown) => error);
      expect(await listed()).toEqual([]);
      if (mayRefuseCuts && refusal !== undefined) {
        expect(refusal).toMatchObject({ kind: 'unavailable' });
        return;
      }
      expect(refusal).toBeUndefined();
      await cut(true);
      expect(await listed()).toEqual(ids);
      for (const shape of sources) await write(shape, 'after');
      for (const [index, shape] of sources.entries()) {
        const restored = await copy(121 + index, { kind: 'snapshot', id: ids[index] ?? '' });
        expect(await read(restored)).toBe(`before ${shape.id}`);
      }
      const aborted = AbortSignal.abort(new Error('held for too long'));
      await using late = await pool.backend.prepareSnapshots(
        requests.map(({ volume }, index) => ({ id: snapshot(31 + index), volume })),
      );
      await expect(late.take(aborted)).rejects.toThrow('held for too long');
    },
  );

  copying('copies a snapshot and a volume into new volumes, which go their own way', async () => {
    const { pool, write, read } = under();
    const parent = await make(4);
    await write(parent, 'data');
    await takeSnapshot(snapshot(4), parent);
    const restored = await copy(5, { kind: 'snapshot', id: snapshot(4) });
    const cloned = await (async () => {
      await using _still = await pool.mounts.freeze(parent);
      return await copy(6, { kind: 'volume', id: parent.id });
    })();
    await write(restored, 'other');
    expect(await read(parent)).toBe('data');
    expect(await read(restored)).toBe('other');
    expect(await read(cloned)).toBe('data');
  });

  it('grows a volume, in use where possible, and never shrinks it', async () => {
    const { pool, write, read, growsInUse = true } = under();
    const shape = await make(7);
    await write(shape, 'kept');
    if (!growsInUse) await pool.mounts.detach(shape);
    const grown = { ...shape, sizeBytes: shape.sizeBytes * 2n };
    for (const next of [grown, grown]) {
      await pool.backend.setLimit(next, next.sizeBytes);
      await pool.mounts.grow(next);
    }
    expect(await read(grown)).toBe('kept');
    const stats = await pool.mounts.stats(grown);
    if (stats !== undefined) expect(stats.totalBytes).toBeGreaterThan(shape.sizeBytes);
    // A quota may be lowered; a file system would be destroyed.
    await pool.backend.setLimit(shape, shape.sizeBytes);
    await pool.mounts.detach(grown);
    expect(await read(grown)).toBe('kept');
  });

  it('attaches, mounts and detaches a volume idempotently', async () => {
    const { pool, write, read } = under();
    const shape = await make(10);
    await pool.mounts.attach(shape);
    await pool.mounts.attach(shape);
    await write(shape, 'shown');
    await pool.mounts.detach(shape);
    await pool.mounts.detach(shape);
    expect(await read(shape)).toBe('shown');
    await pool.mounts.detach(shape);
  });

  it('hides discarded data at once, and removes it in a collection', async () => {
    const { backend, mounts } = under().pool;
    const shape = await make(8);
    if (copies) await takeSnapshot(snapshot(8), shape);
    for (let time = 0; time < 2; time += 1) {
      await mounts.detach(shape);
      await backend.discard('volume', shape.id);
      await backend.discard('snapshot', snapshot(8));
    }
    const { volumes, snapshots } = await backend.list();
    expect(volumes).not.toContain(shape.id);
    expect(snapshots).not.toContain(snapshot(8));
    expect(await backend.collect()).toBeGreaterThanOrEqual(copies ? 2 : 1);
    expect(await backend.collect()).toBe(0);
  });

  it('leaves data beyond the budget to the next run', async () => {
    const { backend } = under().pool;
    for (const number of [41, 42]) {
      const shape = await make(number);
      await backend.discard('volume', shape.id);
    }
    const budget = new RemovalBudget(1n);
    const first = await backend.collect(budget);
    expect(budget.hasPostponed).toBe(first < 2);
    expect(first + (await backend.collect())).toBe(2);
    expect(await backend.collect()).toBe(0);
  });

  if (!copies) {
    it('reports that copies are not supported, and refuses them', async () => {
      const { backend } = under().pool;
      expect(backend.features.copies).toBe('none');
      const shape = await make(12);
      await expect(backend.ensureSnapshot(snapshot(12), shape)).rejects.toMatchObject({
        kind: 'unsupported',
      });
      const source = { kind: 'volume' as const, id: shape.id };
      await expect(backend.ensureVolume(volume(13), source)).rejects.toMatchObject({ kind: 'unsupported' });
      const { volumes, snapshots } = await backend.list();
      expect([volumes.includes(volumeId(13)), snapshots]).toEqual([false, []]);
    });
  }

  if (holdsSize !== undefined) {
    it(`${holdsSize ? 'holds' : 'does not hold'} a volume to its size, and says so`, async () => {
      const { pool, fill, form, growsInUse = true } = under();
      const shape = await make(14);
      const mebibytes = Number(shape.sizeBytes / MIB) + 8;
      const outcome = await fill?.(shape, mebibytes);
      if (holdsSize) expect(['EDQUOT', 'ENOSPC']).toContain(outcome);
      else expect(outcome).toBe('ok');
      expect(pool.backend.features.enforcement === 'none').toBe(!holdsSize);
      if (!growsInUse) await pool.mounts.detach(shape);
      const grown: VolumeShape = { ...shape, ...form, sizeBytes: shape.sizeBytes * 2n };
      await pool.backend.setLimit(grown, grown.sizeBytes);
      await pool.mounts.grow(grown);
      expect(await fill?.(grown, mebibytes)).toBe('ok');
    });
  }

  it('accounts for volumes and snapshots', async () => {
    const { pool, write } = under();
    const shape = await make(11);
    await write(shape, 'x');
    const { volumes, totalBytes, freeBytes } = await pool.backend.usage();
    expect(volumes.has(shape.id)).toBe(true);
    expect(freeBytes).toBeGreaterThan(0n);
    expect(totalBytes).toBeGreaterThanOrEqual(freeBytes);
  });

  it('fails with not-found for an unknown volume', async () => {
    const absent = volume(9);
    await expect(under().pool.backend.setLimit(absent, 1n)).rejects.toMatchObject({ kind: 'not-found' });
  });
}
