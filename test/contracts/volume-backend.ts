import { expect, it } from 'vitest';
import type { Pool } from '../../node-agent/storage/backend.ts';

/** A pool under test, with what the contract needs to look inside. */
export interface BackendUnderTest {
  readonly pool: Pool;
  write(volumeId: string, text: string): Promise<void>;
  read(kind: 'volume' | 'snapshot', id: string): Promise<string>;
}

const volume = (number: number): string => `vol-${number.toString(16).padStart(24, '0')}`;
const snapshot = (number: number): string => `snap-${number.toString(16).padStart(24, '0')}`;

/** What every backend has to do, the fake one included. Each test uses ids of its own. */
export function describeBackend(under: () => BackendUnderTest): void {
  it('makes an empty volume, also when asked twice', async () => {
    const { backend } = under().pool;
    await backend.ensureVolume(volume(1), undefined);
    await backend.ensureVolume(volume(1), undefined);
    expect((await backend.list()).volumes).toContain(volume(1));
  });

  it('keeps what a volume holds when it is ensured again', async () => {
    const { pool, write, read } = under();
    await pool.backend.ensureVolume(volume(2), undefined);
    await write(volume(2), 'kept');
    await pool.backend.ensureVolume(volume(2), undefined);
    expect(await read('volume', volume(2))).toBe('kept');
  });

  it('takes a snapshot that later writes do not change', async () => {
    const { pool, write, read } = under();
    await pool.backend.ensureVolume(volume(3), undefined);
    await write(volume(3), 'before');
    await pool.backend.ensureSnapshot(snapshot(3), volume(3));
    await write(volume(3), 'after');
    await pool.backend.ensureSnapshot(snapshot(3), volume(3));
    expect(await read('snapshot', snapshot(3))).toBe('before');
  });

  it('copies a snapshot and a volume into new volumes, which go their own way', async () => {
    const { pool, write, read } = under();
    await pool.backend.ensureVolume(volume(4), undefined);
    await write(volume(4), 'data');
    await pool.backend.ensureSnapshot(snapshot(4), volume(4));
    await pool.backend.ensureVolume(volume(5), { kind: 'snapshot', id: snapshot(4) });
    await pool.backend.ensureVolume(volume(6), { kind: 'volume', id: volume(4) });
    await write(volume(5), 'other');
    expect(await read('volume', volume(4))).toBe('data');
    expect(await read('volume', volume(5))).toBe('other');
    expect(await read('volume', volume(6))).toBe('data');
  });

  it('tells the limit that was set last', async () => {
    const { backend } = under().pool;
    await backend.ensureVolume(volume(7), undefined);
    await backend.setLimit(volume(7), 64n << 20n);
    await backend.setLimit(volume(7), 32n << 20n);
    expect((await backend.usage()).volumes.get(volume(7))?.limitBytes).toBe(32n << 20n);
  });

  it('takes discarded data out of sight at once, and removes it when it collects', async () => {
    const { backend } = under().pool;
    await backend.ensureVolume(volume(8), undefined);
    await backend.ensureSnapshot(snapshot(8), volume(8));
    for (let time = 0; time < 2; time += 1) {
      await backend.discard('volume', volume(8));
      await backend.discard('snapshot', snapshot(8));
    }
    const { volumes, snapshots } = await backend.list();
    expect(volumes).not.toContain(volume(8));
    expect(snapshots).not.toContain(snapshot(8));
    expect(await backend.collect()).toBeGreaterThanOrEqual(2);
    expect(await backend.collect()).toBe(0);
  });

  it('says not-found for a volume that is not there', async () => {
    await expect(under().pool.backend.setLimit(volume(9), 1n)).rejects.toMatchObject({ kind: 'not-found' });
  });
}
