import { requireCopies } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import {
  dissolve,
  type OperationDeps,
  randomId,
  snapshotIntent,
  undo,
} from '../operations/volume-snapshot-operations.ts';

/** Takes and deletes snapshots. */
export class Snapshots {
  readonly #deps: OperationDeps;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /**
   * Ensures the snapshot of that name. Throws `conflict` when the name is taken for another volume, `not-found` for an unknown one,
   * `exhausted` when the pool cannot hold both what it keeps and a whole rewrite of the volume, `busy` while either is worked on.
   */
  async create(name: string, volumeId: string): Promise<Snapshot> {
    const { inventory, locks } = this.#deps;
    checkName(name, 'name');
    using _name = locks.take(`snapshot name ${name}`);
    for (const existing of inventory.snapshots.values()) {
      if (existing.name !== name || existing.group !== undefined) continue;
      if (existing.phase === 'ready') {
        if (existing.sourceVolumeId === volumeId) return existing;
        throw new Fault('conflict', `snapshot ${name} exists, of volume ${existing.sourceVolumeId}`, {
          fields: { snapshotId: existing.id },
        });
      }
      using _snapshot = locks.take(existing.id);
      await dissolve('snapshot', existing, this.#deps);
    }
    using _volume = locks.take(volumeId);
    const volume = inventory.volumes.get(volumeId);
    if (volume?.phase !== 'ready') {
      throw new Fault('not-found', `volume ${volumeId.slice(0, 128)} does not exist on this node`);
    }
    return await this.#take(name, volume);
  }

  /**
   * A snapshot of the volume as it is now, until the result is disposed: for reading a volume that is in use. It is never listed, and does not
   * outlive a crash.
   */
  async borrow(volumeId: string): Promise<AsyncDisposable & { readonly snapshot: Snapshot }> {
    const { inventory, locks } = this.#deps;
    await using made = new AsyncDisposableStack();
    using _volume = locks.take(volumeId);
    const volume = inventory.volumes.get(volumeId);
    if (volume?.phase !== 'ready') {
      throw new Fault('not-found', `volume ${volumeId.slice(0, 128)} does not exist on this node`);
    }
    const snapshot = await this.#intend(`borrowed-${randomId()}`, volume, (lock) => made.use(lock));
    made.defer(() => undo('snapshot', snapshot, this.#deps));
    await this.#copy(snapshot, volume);
    const owned = made.move();
    return { snapshot, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  }

  async #take(name: string, volume: Volume): Promise<Snapshot> {
    const { inventory, logger } = this.#deps;
    using held = new DisposableStack();
    const snapshot = await this.#intend(name, volume, (lock) => held.use(lock));
    try {
      const ready = await this.#copy(snapshot, volume);
      await inventory.saveSnapshot(ready);
      logger.info({ snapshotId: ready.id, volumeId: volume.id, pool: volume.pool }, 'snapshot created');
      return ready;
    } catch (error) {
      await undo('snapshot', snapshot, this.#deps);
      throw error;
    }
  }

  /** Puts a snapshot on record that is to be taken, and hands its lock to `hold`. */
  async #intend(name: string, volume: Volume, hold: (lock: Disposable) => void): Promise<Snapshot> {
    const { inventory, ledger, locks, clock } = this.#deps;
    const { backend } = ledger.pool(volume.pool);
    requireCopies(volume.pool, backend.features);
    const { usage, capacity } = await ledger.measure(volume.pool);
    const charged = usage.volumes.get(volume.id)?.usedBytes ?? 0n;
    // What it keeps is counted where the filesystem counts it: in the volume's raised limit, or as the snapshot's own.
    const kept = backend.features.enforcement === 'simple' ? ledger.extraForPin(volume, charged) : charged;
    checkRoom(volume.pool, kept, capacity(), `snapshot ${name}`);
    const snapshot = snapshotIntent(volume, { name, chargedBytes: charged, createdAtMs: clock.nowMs() });
    // It is seen as soon as its last record is on its way to the disk: whoever wants it has to wait for that.
    hold(locks.take(snapshot.id));
    // Crash window: intent on record, the volume's limit raised, perhaps the snapshot taken. The next start dissolves it.
    await inventory.saveSnapshot(snapshot);
    return snapshot;
  }

  async #copy(snapshot: Snapshot, volume: Volume): Promise<Snapshot> {
    const { ledger } = this.#deps;
    const { backend, mounts } = ledger.pool(volume.pool);
    await using _raised = await ledger.raise(volume);
    {
      await using _still = await mounts.freeze(volume);
      await backend.ensureSnapshot(snapshot.id, volume);
    }
    const { volumes } = await backend.usage();
    const pins = pinsOfCopy(volume, volumes.get(volume.id)?.usedBytes ?? 0n);
    return { ...snapshot, phase: 'ready', pins };
  }

  /** Ensures that the snapshot is gone. Unknown ids are fine; volumes restored from it do not need it. */
  async delete(id: string): Promise<void> {
    const { inventory, locks, logger } = this.#deps;
    if (!inventory.snapshots.has(id)) return;
    using _lock = locks.take(id);
    const snapshot = inventory.snapshots.get(id);
    if (snapshot === undefined) return;
    if (snapshot.group !== undefined) {
      // CSI, DeleteSnapshot: INVALID_ARGUMENT for what cannot be deleted alone.
      throw new Fault(
        'invalid',
        `snapshot ${id} is a member of group snapshot ${snapshot.group.id}; delete that one, with all its members`,
        { fields: { snapshotId: id, groupId: snapshot.group.id } },
      );
    }
    const deleting: Snapshot = { ...snapshot, phase: 'deleting' };
    await inventory.saveSnapshot(deleting);
    await dissolve('snapshot', deleting, this.#deps);
    logger.info({ snapshotId: id, volumeId: snapshot.sourceVolumeId }, 'snapshot deleted');
  }
}
