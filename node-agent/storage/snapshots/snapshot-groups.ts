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
import { checkName, formatGroupId } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import type { SnapshotCreation } from '../contract/volume-backend.ts';
import {
  dissolve,
  type OperationDeps,
  randomId,
  snapshotIntent,
  undo,
} from '../operations/volume-snapshot-operations.ts';

/** Nobody's writers are held longer for a group. Sharing data takes milliseconds; only full copies can come here. */
const HOLD_MS = 10_000;
/** How long it is tried where nobody is held. */
const PATIENCE_MS = 60_000;

/** Takes and deletes snapshots of several volumes at one instant. */
export class SnapshotGroups {
  readonly #deps: OperationDeps;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /**
   * Ensures the group snapshot of that name: of all volumes, at one instant, or of none. Throws `conflict` when the name is taken for others,
   * `not-found` for an unknown one, `precondition` when these cannot be cut at one instant, `exhausted` when a pool has no room, `busy`
   * while one of them is worked on.
   */
  async create(name: string, volumeIds: readonly string[]): Promise<SnapshotGroup> {
    const { inventory, locks } = this.#deps;
    checkName(name, 'name');
    const wanted = checkGroupVolumes(volumeIds, 'source_volume_ids');
    using _name = locks.take(`group snapshot name ${name}`);
    const existing = this.list().find((group) => group.name === name);
    if (existing !== undefined) {
      requireSameVolumes(existing, wanted);
      return existing;
    }
    await this.#dissolve([...inventory.snapshots.values()].filter(({ group }) => group?.name === name));
    using taken = new DisposableStack();
    for (const id of wanted) taken.use(locks.take(id));
    return await this.#take(
      name,
      wanted.map((id) => this.#getVolume(id)),
    );
  }

  /** Ensures that the group and its members are gone; an unknown one is fine. `snapshotIds` is what the caller takes for its members. */
  async delete(id: string, snapshotIds: readonly string[]): Promise<void> {
    const { inventory, logger } = this.#deps;
    const members = [...inventory.snapshots.values()].filter(({ group }) => group?.id === id);
    const [first] = members;
    if (first?.group === undefined) return;
    checkKnownMembers(groupOf(first.group, members), snapshotIds, (each) => inventory.snapshots.has(each));
    await this.#dissolve(members);
    logger.info({ groupId: id, members: members.length }, 'group snapshot deleted');
  }

  /** Throws `not-found`, and `invalid` where the caller's idea of the members is wrong. */
  get(id: string, snapshotIds: readonly string[]): SnapshotGroup {
    const { snapshots } = this.#deps.inventory;
    const found = this.list().find((group) => group.id === id);
    if (found === undefined) {
      throw new Fault('not-found', `group snapshot ${id.slice(0, 128)} does not exist on this node`);
    }
    checkKnownMembers(found, snapshotIds, (each) => snapshots.has(each));
    return found;
  }

  /** Those that are finished, in the order of their ids. */
  list(): readonly SnapshotGroup[] {
    return finishedGroups(this.#deps.inventory.snapshots.values());
  }

  async #take(name: string, volumes: readonly Volume[]): Promise<SnapshotGroup> {
    const { inventory, ledger, locks, clock, logger } = this.#deps;
    checkOneInstant(
      volumes.map(({ id: volumeId, pool, volumeMode, published }) => {
        const { backend } = ledger.pool(pool).backend.features;
        return { volumeId, pool, volumeMode, backend, isInUse: published.length > 0 };
      }),
    );
    const pools = [...new Set(volumes.map(({ pool }) => pool))];
    for (const pool of pools) requireCopies(pool, ledger.pool(pool).backend.features);
    const measured = new Map(
      await Promise.all(pools.map(async (pool) => [pool, await ledger.measure(pool)] as const)),
    );
    const charged = ({ id, pool }: Volume): bigint =>
      measured.get(pool)?.usage.volumes.get(id)?.usedBytes ?? 0n;
    for (const [pool, { capacity }] of measured) {
      const { enforcement } = ledger.pool(pool).backend.features;
      const kept = volumes
        .filter((volume) => volume.pool === pool)
        .map((volume) =>
          // As for a single snapshot: counted in the volume's raised limit, or as the snapshot's own.
          enforcement === 'simple' ? ledger.extraForPin(volume, charged(volume)) : charged(volume),
        );
      checkRoom(
        pool,
        kept.reduce((sum, bytes) => sum + bytes, 0n),
        capacity(),
        `group snapshot ${name}`,
      );
    }
    const group = { id: formatGroupId(randomId()), name };
    const snapshots = volumes.map((volume) =>
      snapshotIntent(volume, {
        // Nobody else's: names of snapshots have no such id in them unless somebody means this one.
        name: memberName(name, volume.id),
        group,
        chargedBytes: charged(volume),
        createdAtMs: clock.nowMs(),
      }),
    );
    using taken = new DisposableStack();
    for (const { id } of snapshots) taken.use(locks.take(id));
    try {
      // Crash window: intents on record, limits raised, perhaps some or all snapshots there. As long as one record says `creating`, the next
      // start dissolves them all.
      await Promise.all(snapshots.map((snapshot) => inventory.saveSnapshot(snapshot)));
      const ready = await this.#copy(snapshots, volumes);
      // Crash window: some records say `ready`, some do not. The same.
      await Promise.all(ready.map((snapshot) => inventory.saveSnapshot(snapshot)));
      logger.info({ groupId: group.id, volumes: volumes.map(({ id }) => id) }, 'group snapshot created');
      return groupOf(group, ready);
    } catch (error) {
      await this.#undo(snapshots);
      throw error;
    }
  }

  /** Cuts them all; resolves to the records of what is there then. */
  async #copy(snapshots: readonly Snapshot[], volumes: readonly Volume[]): Promise<readonly Snapshot[]> {
    const { ledger } = this.#deps;
    const requests = snapshots.flatMap((snapshot, index) => {
      const volume = volumes[index];
      return volume === undefined ? [] : [{ id: snapshot.id, volume }];
    });
    await using raised = new AsyncDisposableStack();
    for (const volume of volumes) raised.use(await ledger.raise(volume));
    await using cuts = new AsyncDisposableStack();
    const prepared: SnapshotCreation[] = [];
    for (const [pool, ofPool] of Map.groupBy(requests, ({ volume }) => volume.pool)) {
      prepared.push(cuts.use(await ledger.pool(pool).backend.prepareSnapshots(ofPool)));
    }
    const createdAtMs = await this.#cutAtOnce(volumes, prepared);
    for (const cut of prepared) await cut.finish();
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

  /** Holds all writers that can be held, takes the copies, and lets them go. Resolves to the moment. */
  async #cutAtOnce(volumes: readonly Volume[], cuts: readonly SnapshotCreation[]): Promise<number> {
    const { ledger, clock } = this.#deps;
    for (const volume of volumes) await ledger.pool(volume.pool).mounts.flush(volume);
    const held = new AbortController();
    const isAnyHeld = volumes.some(
      ({ pool, published }) => published.length > 0 && ledger.pool(pool).backend.features.backend !== 'btrfs',
    );
    const limitMs = isAnyHeld ? HOLD_MS : PATIENCE_MS;
    using _deadline = clock.schedule(limitMs, () => {
      held.abort(
        new Fault(
          'timeout',
          `taking ${volumes.length} volumes at one instant took longer than ${limitMs / 1_000} s, so nothing was taken and nobody is held any more; try again when less is written, and where copies are full ones (pool features), stop the pods meanwhile`,
        ),
      );
    });
    await using still = new AsyncDisposableStack();
    for (const volume of volumes) {
      held.signal.throwIfAborted();
      // Crash window: killed while writers are held. Attaching the volume, which every start does, lets them go.
      still.use(await ledger.pool(volume.pool).mounts.freeze(volume));
    }
    const createdAtMs = clock.nowMs();
    for (const cut of cuts) await cut.take(held.signal);
    return createdAtMs;
  }

  /** All are marked before the first one goes: what is left after a crash goes as well. */
  async #dissolve(members: readonly Snapshot[]): Promise<void> {
    const { inventory, ledger, locks } = this.#deps;
    // Before anything is marked: whatever pool is not open keeps the group whole.
    for (const { pool } of members) ledger.pool(pool);
    using taken = new DisposableStack();
    for (const { id } of members) taken.use(locks.take(id));
    const deleting = members.map((member): Snapshot => ({ ...member, phase: 'deleting' }));
    await Promise.all(deleting.map((member) => inventory.saveSnapshot(member)));
    for (const member of deleting) await dissolve('snapshot', member, this.#deps);
  }

  async #undo(snapshots: readonly Snapshot[]): Promise<void> {
    const { inventory, logger } = this.#deps;
    try {
      for (const { id } of snapshots) {
        const snapshot = inventory.snapshots.get(id);
        if (snapshot !== undefined) await inventory.saveSnapshot({ ...snapshot, phase: 'deleting' });
      }
    } catch (error) {
      logger.warn({ err: error }, 'a half-made group snapshot could not be marked yet');
    }
    for (const { id } of snapshots) {
      const snapshot = inventory.snapshots.get(id);
      if (snapshot !== undefined) await undo('snapshot', snapshot, this.#deps);
    }
  }

  #getVolume(id: string): Volume {
    const volume = this.#deps.inventory.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`, {
      fields: { volumeId: id.slice(0, 128) },
    });
  }
}

/** The name of the snapshot of one volume in a group snapshot. */
export function memberName(groupName: string, volumeId: string): string {
  return `${groupName}.${volumeId}`;
}
