import { requireCopies } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import {
  checkGroupVolumes,
  checkKnownMembers,
  checkOneInstant,
  finishedGroups,
  groupOf,
  requireSameVolumes,
  type SnapshotGroup,
} from '../../../src/core/snapshots/snapshot-group.ts';
import type { Pins, Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import type { SnapshotCreation } from '../contract/volume-backend.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import {
  type OperationDeps,
  removeDataAndRecord,
  snapshotIntent,
  undoCreation,
} from '../operations/volume-snapshot-operations.ts';
import type { Measured } from '../records/ledger.ts';
import { newGroupId } from '../records/record-store.ts';

/** Limits how long writers stay frozen; only full copies take longer than milliseconds. */
const FREEZE_LIMIT_MS = 10_000;
/** Limits an attempt that freezes no writer. */
const ATTEMPT_LIMIT_MS = 60_000;

/** The group snapshots of one node: snapshots of several volumes at one instant. */
export interface SnapshotGroupService {
  /**
   * Ensures the group snapshot of that name: of all volumes at one instant, or of none. Throws
   * `conflict` for an existing group of other volumes, `not-found` for an unknown volume,
   * `precondition` for volumes that cannot share an instant, `exhausted` for a pool without space,
   * `busy` while another operation holds one of the volumes.
   */
  create(name: string, volumeIds: readonly string[]): Promise<SnapshotGroup>;
  /**
   * Ensures that the group and its members do not exist. `snapshotIds` are the members that the
   * caller knows; empty if it knows none.
   */
  delete(id: string, snapshotIds: readonly string[]): Promise<void>;
  /** Returns the group. Throws `not-found`, and `invalid` if `snapshotIds` are not its members. */
  get(id: string, snapshotIds: readonly string[]): SnapshotGroup;
  /** Lists finished groups by id. */
  list(): readonly SnapshotGroup[];
}

/** Returns `groups` as a service, with its operations run by `runner`. */
export function createSnapshotGroupService(
  groups: SnapshotGroups,
  { runner }: { readonly runner: OperationRunner },
): SnapshotGroupService {
  return {
    create: (name, volumeIds) => runner.run('create_group_snapshot', () => groups.create(name, volumeIds)),
    delete: (id, snapshotIds) => runner.run('delete_group_snapshot', () => groups.delete(id, snapshotIds)),
    get: (id, snapshotIds) => groups.get(id, snapshotIds),
    list: () => groups.list(),
  };
}

/** Creates and deletes group snapshots. */
export class SnapshotGroups implements SnapshotGroupService {
  readonly #deps: OperationDeps;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  async create(name: string, volumeIds: readonly string[]): Promise<SnapshotGroup> {
    const { records, locks } = this.#deps;
    checkName(name, 'name');
    const sources = checkGroupVolumes(volumeIds, 'source_volume_ids');
    using _name = locks.take(`group snapshot name ${name}`);
    const existing = this.list().find((group) => group.name === name);
    if (existing !== undefined) {
      requireSameVolumes(existing, sources);
      return existing;
    }
    await this.#remove([...records.snapshots.values()].filter(({ group }) => group?.name === name));
    using locked = new DisposableStack();
    for (const id of sources) locked.use(locks.take(id));
    return await this.#create(
      name,
      sources.map((id) => this.#getVolume(id)),
    );
  }

  async delete(id: string, snapshotIds: readonly string[]): Promise<void> {
    const { records, logger } = this.#deps;
    const members = [...records.snapshots.values()].filter(({ group }) => group?.id === id);
    const [first] = members;
    if (first?.group === undefined) return;
    checkKnownMembers(groupOf(first.group, members), snapshotIds, (each) => records.snapshots.has(each));
    await this.#remove(members);
    logger.info({ groupId: id, members: members.length }, 'group snapshot deleted');
  }

  get(id: string, snapshotIds: readonly string[]): SnapshotGroup {
    const { snapshots } = this.#deps.records;
    const found = this.list().find((group) => group.id === id);
    if (found === undefined) {
      throw new Fault('not-found', `group snapshot ${id.slice(0, 128)} does not exist on this node`);
    }
    checkKnownMembers(found, snapshotIds, (each) => snapshots.has(each));
    return found;
  }

  list(): readonly SnapshotGroup[] {
    return finishedGroups(this.#deps.records.snapshots.values());
  }

  async #create(name: string, volumes: readonly Volume[]): Promise<SnapshotGroup> {
    const { records, locks, logger } = this.#deps;
    this.#requireOneInstant(volumes);
    const measured = await this.#measure(volumes);
    // No await from here to saveSnapshot: two requests must not be promised the same space.
    const group = { id: newGroupId(), name };
    const snapshots = this.#intend(group, volumes, measured);
    using locked = new DisposableStack();
    for (const { id } of snapshots) locked.use(locks.take(id));
    try {
      // Crash window: records saved, limits raised, some or all snapshots created. While one record
      // is in phase `creating`, recovery removes them all.
      await Promise.all(snapshots.map((snapshot) => records.saveSnapshot(snapshot)));
      const ready = await this.#copy(snapshots, volumes);
      // Crash window: some records in phase `ready`, some not. Recovery removes them all.
      await Promise.all(ready.map((snapshot) => records.saveSnapshot(snapshot)));
      logger.info({ groupId: group.id, volumes: volumes.map(({ id }) => id) }, 'group snapshot created');
      return groupOf(group, ready);
    } catch (error) {
      await this.#undo(snapshots);
      throw error;
    }
  }

  #requireOneInstant(volumes: readonly Volume[]): void {
    const { ledger } = this.#deps;
    checkOneInstant(
      volumes.map(({ id: volumeId, pool, volumeMode, published }) => {
        const { backend } = ledger.pool(pool).backend.features;
        return { volumeId, pool, volumeMode, backend, isInUse: published.length > 0 };
      }),
    );
    for (const { pool } of volumes) requireCopies(pool, ledger.pool(pool).backend.features);
  }

  async #measure(volumes: readonly Volume[]): Promise<ReadonlyMap<string, Measured>> {
    const { ledger } = this.#deps;
    const pools = [...new Set(volumes.map(({ pool }) => pool))];
    return new Map(await Promise.all(pools.map(async (pool) => [pool, await ledger.measure(pool)] as const)));
  }

  /** Checks the space of all pools and returns the records of the new snapshots. */
  #intend(
    group: { readonly id: string; readonly name: string },
    volumes: readonly Volume[],
    measured: ReadonlyMap<string, Measured>,
  ): readonly Snapshot[] {
    const { ledger, clock } = this.#deps;
    const charged = ({ id, pool }: Volume): bigint =>
      measured.get(pool)?.usage.volumes.get(id)?.usedBytes ?? 0n;
    for (const [pool, { capacity }] of measured) {
      const isSimple = ledger.pool(pool).backend.features.enforcement === 'simple';
      // As for a single snapshot: simple quotas charge the data to the volume, others charge the
      // copy.
      const kept = volumes
        .filter((volume) => volume.pool === pool)
        .map((volume) => (isSimple ? ledger.extraForPin(volume, charged(volume)) : charged(volume)))
        .reduce((sum, bytes) => sum + bytes, 0n);
      checkRoom(pool, kept, capacity(), `group snapshot ${group.name}`);
    }
    return volumes.map((volume) =>
      snapshotIntent(volume, {
        name: memberName(group.name, volume.id),
        group,
        chargedBytes: charged(volume),
        createdAtMs: clock.nowMs(),
      }),
    );
  }

  /** Creates all snapshots at one instant and returns their finished records. */
  async #copy(snapshots: readonly Snapshot[], volumes: readonly Volume[]): Promise<readonly Snapshot[]> {
    const { ledger } = this.#deps;
    const requests = snapshots.flatMap((snapshot, index) => {
      const volume = volumes[index];
      return volume === undefined ? [] : [{ id: snapshot.id, volume }];
    });
    await using raised = new AsyncDisposableStack();
    for (const volume of volumes) raised.use(await ledger.raise(volume));
    await using cleanup = new AsyncDisposableStack();
    const creations: SnapshotCreation[] = [];
    for (const [pool, ofPool] of Map.groupBy(requests, ({ volume }) => volume.pool)) {
      creations.push(cleanup.use(await ledger.pool(pool).backend.prepareSnapshots(ofPool)));
    }
    const createdAtMs = await this.#takeAtOnce(volumes, creations);
    for (const creation of creations) await creation.finish();
    const pins = new Map<string, Pins>();
    for (const [pool, ofPool] of Map.groupBy(volumes, (volume) => volume.pool)) {
      const usage = await ledger.pool(pool).backend.usage();
      for (const volume of ofPool) {
        pins.set(volume.id, pinsOfCopy(volume, usage.volumes.get(volume.id)?.usedBytes ?? 0n));
      }
    }
    return snapshots.map((snapshot) => ({
      ...snapshot,
      phase: 'ready',
      createdAtMs,
      pins: pins.get(snapshot.sourceVolumeId) ?? snapshot.pins,
    }));
  }

  /**
   * Freezes all writers that can be frozen, takes the snapshots, and thaws. Returns the instant.
   */
  async #takeAtOnce(volumes: readonly Volume[], creations: readonly SnapshotCreation[]): Promise<number> {
    const { ledger, clock } = this.#deps;
    for (const volume of volumes) await ledger.pool(volume.pool).mounts.flush(volume);
    const attempt = new AbortController();
    const freezesWriters = volumes.some(
      ({ pool, published }) => published.length > 0 && ledger.pool(pool).backend.features.backend !== 'btrfs',
    );
    const limitMs = freezesWriters ? FREEZE_LIMIT_MS : ATTEMPT_LIMIT_MS;
    using _deadline = clock.schedule(limitMs, () => attempt.abort(tookTooLong(volumes.length, limitMs)));
    await using frozen = new AsyncDisposableStack();
    for (const volume of volumes) {
      attempt.signal.throwIfAborted();
      // Crash window: killed while writers are frozen. Recovery attaches the volume, which thaws
      // it.
      frozen.use(await ledger.pool(volume.pool).mounts.freeze(volume));
    }
    const createdAtMs = clock.nowMs();
    for (const creation of creations) await creation.take(attempt.signal);
    return createdAtMs;
  }

  /**
   * Marks all members before it removes the first, so that recovery removes the rest after a crash.
   */
  async #remove(members: readonly Snapshot[]): Promise<void> {
    const { records, ledger, locks } = this.#deps;
    // Throws before anything is marked: a pool that is not open keeps the whole group.
    for (const { pool } of members) ledger.pool(pool);
    using locked = new DisposableStack();
    for (const { id } of members) locked.use(locks.take(id));
    const deleting = members.map((member): Snapshot => ({ ...member, phase: 'deleting' }));
    await Promise.all(deleting.map((member) => records.saveSnapshot(member)));
    for (const member of deleting) await removeDataAndRecord('snapshot', member, this.#deps);
  }

  async #undo(snapshots: readonly Snapshot[]): Promise<void> {
    const { records, logger } = this.#deps;
    try {
      for (const { id } of snapshots) {
        const snapshot = records.snapshots.get(id);
        if (snapshot !== undefined) await records.saveSnapshot({ ...snapshot, phase: 'deleting' });
      }
    } catch (error) {
      logger.warn({ err: error }, 'cannot mark an incomplete group snapshot; retrying later');
    }
    for (const { id } of snapshots) {
      const snapshot = records.snapshots.get(id);
      if (snapshot !== undefined) await undoCreation('snapshot', snapshot, this.#deps);
    }
  }

  #getVolume(id: string): Volume {
    const volume = this.#deps.records.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`, {
      fields: { volumeId: id.slice(0, 128) },
    });
  }
}

/** Returns the name of a volume's snapshot in a group; its volume id keeps it unique. */
function memberName(groupName: string, volumeId: string): string {
  return `${groupName}.${volumeId}`;
}

function tookTooLong(volumes: number, limitMs: number): Fault {
  return new Fault(
    'timeout',
    `snapshots of ${volumes} volumes at one instant took longer than ${limitMs / 1_000} s; writers are thawed and no snapshot was created; retry with less write load, or stop the pods where copies are full copies (see the pool's features)`,
  );
}
