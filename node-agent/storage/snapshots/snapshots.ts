import { requireCopies } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import { unfinishedGroups } from '../../../src/core/snapshots/snapshot-group.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import type { RecordStore } from '../contract/records.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import {
  type OperationDeps,
  removeDataAndRecord,
  snapshotIntent,
  undoCreation,
} from '../operations/volume-snapshot-operations.ts';
import { newId } from '../records/record-store.ts';

/** The snapshots of one node. Every method is idempotent. */
export interface SnapshotService {
  /**
   * Ensures the snapshot of that name. Throws `conflict` for an existing snapshot of another
   * volume, `not-found` for an unknown volume, `busy` while another operation holds either, and
   * `exhausted` when the pool cannot hold the snapshot and a complete rewrite of the volume.
   */
  create(name: string, volumeId: string): Promise<Snapshot>;
  /**
   * Ensures that the snapshot does not exist. Throws `invalid` for a member of a group snapshot.
   */
  delete(id: string): Promise<void>;
  /** Lists all snapshots by id, with the members of group snapshots. */
  list(): readonly Snapshot[];
}

/** Returns `snapshots` as a service, with its operations run by `runner`. */
export function createSnapshotService(
  snapshots: Snapshots,
  { records, runner }: Pick<OperationDeps, 'records'> & { readonly runner: OperationRunner },
): SnapshotService {
  return {
    create: (name, volumeId) => runner.run('create_snapshot', () => snapshots.create(name, volumeId)),
    delete: (id) => runner.run('delete_snapshot', () => snapshots.delete(id)),
    list: () => listSnapshots(records),
  };
}

/** Lists the finished snapshots by id, without members of group snapshots that are not finished. */
export function listSnapshots({ snapshots }: Pick<RecordStore, 'snapshots'>): readonly Snapshot[] {
  const unfinished = unfinishedGroups(snapshots.values());
  return [...snapshots.values()]
    .filter(({ phase, group }) => phase === 'ready' && (group === undefined || !unfinished.has(group.id)))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Creates and deletes snapshots. */
export class Snapshots {
  readonly #deps: OperationDeps;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /** See `SnapshotService.create`. */
  async create(name: string, volumeId: string): Promise<Snapshot> {
    const { records, locks } = this.#deps;
    checkName(name, 'name');
    using _name = locks.take(`snapshot name ${name}`);
    for (const existing of records.snapshots.values()) {
      if (existing.name !== name || existing.group !== undefined) continue;
      if (existing.phase === 'ready') {
        if (existing.sourceVolumeId === volumeId) return existing;
        throw new Fault('conflict', `snapshot ${name} exists, of volume ${existing.sourceVolumeId}`, {
          fields: { snapshotId: existing.id },
        });
      }
      using _snapshot = locks.take(existing.id);
      await removeDataAndRecord('snapshot', existing, this.#deps);
    }
    using _volume = locks.take(volumeId);
    return await this.#create(name, this.#getVolume(volumeId));
  }

  /**
   * Creates a snapshot for reading a volume that is in use; disposing the result deletes it. It is
   * never listed, and recovery removes it after a crash.
   */
  async createTemporary(volumeId: string): Promise<AsyncDisposable & { readonly snapshot: Snapshot }> {
    const { locks } = this.#deps;
    await using cleanup = new AsyncDisposableStack();
    using _volume = locks.take(volumeId);
    const volume = this.#getVolume(volumeId);
    const snapshot = await this.#intend(`temporary-${newId('snap')}`, volume, (lock) => cleanup.use(lock));
    cleanup.defer(() => undoCreation('snapshot', snapshot, this.#deps));
    await this.#copy(snapshot, volume);
    const owned = cleanup.move();
    return { snapshot, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  }

  async #create(name: string, volume: Volume): Promise<Snapshot> {
    const { records, logger } = this.#deps;
    using locked = new DisposableStack();
    const snapshot = await this.#intend(name, volume, (lock) => locked.use(lock));
    try {
      const ready = await this.#copy(snapshot, volume);
      await records.saveSnapshot(ready);
      logger.info({ snapshotId: ready.id, volumeId: volume.id, pool: volume.pool }, 'snapshot created');
      return ready;
    } catch (error) {
      await undoCreation('snapshot', snapshot, this.#deps);
      throw error;
    }
  }

  /** Saves the record of a snapshot that is about to be created, and passes its lock to `hold`. */
  async #intend(name: string, volume: Volume, hold: (lock: Disposable) => void): Promise<Snapshot> {
    const { records, ledger, locks, clock } = this.#deps;
    const { features } = ledger.pool(volume.pool).backend;
    requireCopies(volume.pool, features);
    const { usage, capacity } = await ledger.measure(volume.pool);
    const charged = usage.volumes.get(volume.id)?.usedBytes ?? 0n;
    // Simple quotas charge the snapshot's data to its volume, whose limit rises; others charge a
    // copy.
    const kept = features.enforcement === 'simple' ? ledger.extraForPin(volume, charged) : charged;
    checkRoom(volume.pool, kept, capacity(), `snapshot ${name}`);
    const snapshot = snapshotIntent(volume, { name, chargedBytes: charged, createdAtMs: clock.nowMs() });
    // Readers see the record in phase `ready` before it is durable; the lock makes them wait.
    hold(locks.take(snapshot.id));
    // Crash window: record saved, limit raised, snapshot absent or created. Recovery removes it.
    await records.saveSnapshot(snapshot);
    return snapshot;
  }

  async #copy(snapshot: Snapshot, volume: Volume): Promise<Snapshot> {
    const { ledger } = this.#deps;
    const { backend, mounts } = ledger.pool(volume.pool);
    await using _raised = await ledger.raise(volume);
    {
      await using _frozen = await mounts.freeze(volume);
      await backend.ensureSnapshot(snapshot.id, volume);
    }
    const { volumes } = await backend.usage();
    const pins = pinsOfCopy(volume, volumes.get(volume.id)?.usedBytes ?? 0n);
    return { ...snapshot, phase: 'ready', pins };
  }

  /** See `SnapshotService.delete`. */
  async delete(id: string): Promise<void> {
    const { records, locks, logger } = this.#deps;
    if (!records.snapshots.has(id)) return;
    using _lock = locks.take(id);
    const snapshot = records.snapshots.get(id);
    if (snapshot === undefined) return;
    if (snapshot.group !== undefined) {
      // CSI, DeleteSnapshot: INVALID_ARGUMENT for a snapshot that cannot be deleted on its own.
      throw new Fault(
        'invalid',
        `snapshot ${id} is a member of group snapshot ${snapshot.group.id}; delete the group snapshot`,
        { fields: { snapshotId: id, groupId: snapshot.group.id } },
      );
    }
    const deleting: Snapshot = { ...snapshot, phase: 'deleting' };
    await records.saveSnapshot(deleting);
    await removeDataAndRecord('snapshot', deleting, this.#deps);
    logger.info({ snapshotId: id, volumeId: snapshot.sourceVolumeId }, 'snapshot deleted');
  }

  #getVolume(id: string): Volume {
    const volume = this.#deps.records.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }
}
