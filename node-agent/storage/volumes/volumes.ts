import {
  hasAttributes,
  leastBytes,
  makesForm,
  planForm,
  requireAttributes,
  requireCopies,
} from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import type { ContentForm, ContentSource, Pins, Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import {
  attributeNames,
  limitsIo,
  sameAttributes,
  type VolumeAttributes,
} from '../../../src/core/volumes/volume-attributes.ts';
import { checkName } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import {
  describeChoice,
  type PoolChoice,
  refusePool,
  requireSameVolume,
  type VolumeIdentifier,
  type VolumeRequest,
} from '../../../src/core/volumes/volume-request.ts';
import { planExpansion, planSize, type SizeRange } from '../../../src/core/volumes/volume-size.ts';
import type { PoolSet, PoolState } from '../contract/pool.ts';
import { newSalt } from '../contract/volume-key.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import {
  type OperationDeps,
  removeDataAndRecord,
  undoCreation,
} from '../operations/volume-snapshot-operations.ts';
import type { Measured } from '../records/ledger.ts';
import { newId } from '../records/record-store.ts';
import { findListed, listVolumes } from './listed-volumes.ts';

/**
 * The volumes of one node. Every method is idempotent; a second operation on a volume while one is
 * in flight throws `busy`.
 */
export interface VolumeService {
  /**
   * Ensures the volume of that name. Throws `conflict` for an existing volume with other
   * properties, `not-found` for an unknown source, `exhausted` for a pool without space.
   */
  create(request: VolumeRequest): Promise<Volume>;
  /**
   * Ensures that the volume does not exist. Throws `precondition` while it is mounted at a target.
   */
  delete(id: string): Promise<void>;
  /** Grows the volume, also in use; a range that its size satisfies changes nothing. */
  expand(id: string, range: SizeRange): Promise<Volume>;
  /** Replaces all attributes, also in use. Throws `invalid` for attributes that it cannot have. */
  modify(id: string, attributes: VolumeAttributes): Promise<Volume>;
  /** Returns the volume. Throws `not-found`. */
  get(id: string): Volume;
  /** Returns one of the listed volumes, or undefined. */
  find(identifier: VolumeIdentifier): Volume | undefined;
  /** Lists all volumes by id, without ephemeral ones. */
  list(): readonly Volume[];
}

/** Returns the volumes of `volumes` as a service, with its operations run by `runner`. */
export function createVolumeService(
  volumes: Volumes,
  { records, runner }: Pick<OperationDeps, 'records'> & { readonly runner: OperationRunner },
): VolumeService {
  return {
    create: (request) => runner.run('create_volume', () => volumes.create(request)),
    delete: (id) => runner.run('delete_volume', () => volumes.delete(id)),
    expand: (id, range) => runner.run('expand_volume', () => volumes.expand(id, range)),
    modify: (id, attributes) => runner.run('modify_volume', () => volumes.modify(id, attributes)),
    get: (id) => volumes.get(id),
    find: (identifier) => findListed(records.volumes, identifier),
    list: () => listVolumes(records.volumes),
  };
}

/** What is decided about a new volume before its space is checked. */
interface VolumePlan {
  readonly pool: string;
  readonly form: ContentForm;
  readonly sizeBytes: bigint;
  readonly measured: Measured;
  /** The volume that the new one is a clone of. */
  readonly parent: Volume | undefined;
}

/** Creates, resizes, modifies and deletes volumes. */
export class Volumes {
  readonly #deps: OperationDeps;
  readonly #pools: Pick<PoolSet, 'states'>;

  constructor({ pools, ...deps }: OperationDeps & { readonly pools: Pick<PoolSet, 'states'> }) {
    this.#pools = pools;
    this.#deps = deps;
  }

  /**
   * See `VolumeService.create`. `lockedSource` is the source if the caller holds its lock; its
   * record may still be in phase `creating`.
   */
  async create(request: VolumeRequest, lockedSource?: Snapshot): Promise<Volume> {
    const { records, locks } = this.#deps;
    checkName(request.name, 'name');
    using _name = locks.take(`volume name ${request.name}`);
    for (const existing of records.volumes.values()) {
      if (existing.name !== request.name) continue;
      if (existing.phase === 'ready') return requireSameVolume(existing, request);
      using _volume = locks.take(existing.id);
      await removeDataAndRecord('volume', existing, this.#deps);
    }
    if (request.source === undefined || lockedSource !== undefined) {
      return await this.#create(request, lockedSource);
    }
    using _source = locks.take(request.source.id);
    return await this.#create(request, this.#findSource(request.source));
  }

  async #create(request: VolumeRequest, source: Volume | Snapshot | undefined): Promise<Volume> {
    const { records, ledger, locks, logger } = this.#deps;
    const plan = await this.#plan(request, source);
    // No await from here to saveVolume: two requests must not be promised the same space.
    const volume = this.#intent(request, source, plan);
    const { pool, sizeBytes } = volume;
    // Readers see the record in phase `ready` before it is durable; the lock makes them wait.
    using _volume = locks.take(volume.id);
    try {
      // Crash window: record saved; data absent, partial or complete. Recovery removes both.
      await records.saveVolume(volume);
      const pins =
        plan.parent === undefined ? await this.#fill(volume) : await this.#clone(volume, plan.parent);
      await ledger.pool(pool).backend.setLimit(volume, sizeBytes);
      const ready: Volume = { ...volume, phase: 'ready', pins };
      await records.saveVolume(ready);
      if (plan.parent !== undefined) await ledger.enforce(plan.parent);
      logger.info({ volumeId: volume.id, pool, sizeBytes, source: request.source?.id }, 'volume created');
      return ready;
    } catch (error) {
      await undoCreation('volume', volume, this.#deps);
      throw error;
    }
  }

  /** Chooses pool, form and size, and measures the pool. */
  async #plan(request: VolumeRequest, source: Volume | Snapshot | undefined): Promise<VolumePlan> {
    const { records, ledger, limiter } = this.#deps;
    const { attributes = {} } = request;
    if (limitsIo(attributes)) limiter.require(attributes);
    const pool = await this.#choosePool(request, source);
    const { features } = ledger.pool(pool).backend;
    this.#requireAccepting(pool);
    if (source !== undefined) requireCopies(pool, features);
    const form = planForm(pool, features, request, source);
    requireAttributes(pool, features, form.volumeMode, attributes);
    const sizeBytes = planSize(request.range, source?.sizeBytes, leastBytes(features, form));
    // The charge of a source must be current; for an empty volume a recent measurement will do.
    const measured =
      source === undefined ? await ledger.measureFor(pool, sizeBytes) : await ledger.measure(pool);
    const parent = request.source?.kind === 'volume' ? records.volumes.get(request.source.id) : undefined;
    return { pool, form, sizeBytes, measured, parent };
  }

  /** Checks the pool's space and returns the record of the new volume. */
  #intent(
    request: VolumeRequest,
    source: Volume | Snapshot | undefined,
    { pool, form, sizeBytes, measured, parent }: VolumePlan,
  ): Volume {
    const { ledger, clock } = this.#deps;
    const charged = parent === undefined ? 0n : (measured.usage.volumes.get(parent.id)?.usedBytes ?? 0n);
    const extra = parent === undefined ? 0n : ledger.extraForPin(parent, charged);
    checkRoom(pool, sizeBytes + extra, measured.capacity(), `volume ${request.name}`);
    return {
      id: newId('vol'),
      name: request.name,
      pool,
      sizeBytes,
      ...form,
      attributes: recorded(request.attributes ?? {}),
      source: request.source,
      encryption: source?.encryption ?? (request.encrypted === true ? { salt: newSalt() } : undefined),
      ephemeral: request.ephemeral,
      phase: 'creating',
      createdAtMs: clock.nowMs(),
      pins: parent === undefined ? (source?.pins ?? {}) : pinsOfCopy(parent, charged),
      staged: [],
      published: [],
    };
  }

  async #fill(volume: Volume): Promise<Pins> {
    await this.#deps.ledger.pool(volume.pool).backend.ensureVolume(volume, volume.source);
    return volume.pins;
  }

  async #clone(volume: Volume, parent: Volume): Promise<Pins> {
    const { ledger } = this.#deps;
    const { backend, mounts } = ledger.pool(volume.pool);
    await using _raised = await ledger.raise(parent);
    {
      await using _still = await mounts.freeze(parent);
      await backend.ensureVolume(volume, volume.source);
    }
    const { volumes } = await backend.usage();
    return pinsOfCopy(parent, volumes.get(parent.id)?.usedBytes ?? 0n);
  }

  /** See `VolumeService.expand`. */
  async expand(id: string, range: SizeRange): Promise<Volume> {
    const { records, ledger, locks } = this.#deps;
    this.get(id);
    using _lock = locks.take(id);
    const before = this.get(id);
    const sizeBytes = planExpansion(range, before.sizeBytes);
    const volume = { ...before, sizeBytes };
    if (sizeBytes > before.sizeBytes) {
      const { capacity } = await ledger.measure(before.pool);
      checkRoom(before.pool, sizeBytes - before.sizeBytes, capacity(), `expanding volume ${id}`);
      await records.saveVolume(volume);
    }
    // Crash window: the new size is recorded, not enforced. Repeating the call enforces it.
    await ledger.enforce(volume);
    await ledger.pool(volume.pool).mounts.grow(volume);
    return volume;
  }

  /** See `VolumeService.modify`. */
  async modify(id: string, attributes: VolumeAttributes): Promise<Volume> {
    const { records, ledger, limiter, locks, logger } = this.#deps;
    this.get(id);
    using _lock = locks.take(id);
    const before = this.get(id);
    if (limitsIo(attributes)) limiter.require(attributes);
    requireAttributes(before.pool, ledger.pool(before.pool).backend.features, before.volumeMode, attributes);
    const volume: Volume = { ...before, attributes: recorded(attributes) };
    const hasChanged = !sameAttributes(before.attributes ?? {}, attributes);
    // Crash window: attributes recorded, not applied. Recovery or a repeated call applies them.
    if (hasChanged) await records.saveVolume(volume);
    await ledger.enforce(volume);
    await limiter.refresh();
    if (hasChanged) logger.info({ volumeId: id, attributes }, 'volume modified');
    return volume;
  }

  /** See `VolumeService.delete`. */
  async delete(id: string): Promise<void> {
    const { records, ledger, locks, logger } = this.#deps;
    if (!records.volumes.has(id)) return;
    using _lock = locks.take(id);
    const volume = records.volumes.get(id);
    if (volume === undefined) return;
    const { mounts } = ledger.pool(volume.pool);
    for (const { target } of volume.published) {
      if (!(await mounts.isMounted(volume, target))) continue;
      throw new Fault('precondition', `volume ${id} is in use at ${target}; unpublish it first`, {
        fields: { volumeId: id, target },
      });
    }
    // A staged volume may be deleted: kubelet can omit NodeUnstageVolume
    // (kubernetes/kubernetes#85476).
    const deleting: Volume = { ...volume, phase: 'deleting', staged: [], published: [] };
    await records.saveVolume(deleting);
    await removeDataAndRecord('volume', deleting, this.#deps);
    await this.#deps.limiter.lift(volume);
    logger.info({ volumeId: id, pool: volume.pool }, 'volume deleted');
  }

  /** See `VolumeService.get`. */
  get(id: string): Volume {
    const volume = this.#deps.records.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`, {
      fields: { volumeId: id.slice(0, 128) },
    });
  }

  #findSource({ kind, id }: ContentSource): Volume | Snapshot {
    const { records } = this.#deps;
    const found = kind === 'volume' ? records.volumes.get(id) : records.snapshots.get(id);
    if (found?.phase === 'ready') return found;
    throw new Fault('not-found', `source ${kind} ${id.slice(0, 128)} does not exist on this node`, {
      fields: { sourceId: id.slice(0, 128) },
    });
  }

  async #choosePool(request: VolumeRequest, source: Volume | Snapshot | undefined): Promise<string> {
    const { pool: wanted } = request;
    if (wanted !== undefined) this.#requireEligible(wanted, request);
    if (source !== undefined) {
      if (wanted === undefined || wanted === source.pool) {
        this.#requireEligible(source.pool, request);
        return source.pool;
      }
      throw new Fault('invalid', `the source is in pool ${source.pool}; a copy cannot be in pool ${wanted}`, {
        fields: { pool: wanted, sourcePool: source.pool },
      });
    }
    return wanted ?? (await this.roomiest(request)).pool;
  }

  /** Throws `invalid` for an unknown or ineligible pool, `unavailable` for one that is not open. */
  #requireEligible(name: string, choice: PoolChoice): void {
    this.#deps.ledger.pool(name);
    const state = this.#stateOf(name);
    const why = state && refusePool(state, choice);
    if (why !== undefined) throw new Fault('invalid', `pool ${name} ${why}`, { fields: { pool: name } });
  }

  #stateOf(name: string): PoolState | undefined {
    return this.#pools.states().find((state) => state.name === name);
  }

  #requireAccepting(name: string): void {
    const state = this.#stateOf(name);
    if (state?.isAccepting === true) return;
    throw new Fault(
      'exhausted',
      `pool ${name} does not accept new volumes: ${state?.problem ?? 'it is being opened'}`,
      { fields: { pool: name } },
    );
  }

  /** Returns the eligible pool with the most available space. Throws `exhausted` without one. */
  async roomiest(choice: PoolChoice): Promise<{ readonly pool: string; readonly availableBytes: bigint }> {
    const { ledger } = this.#deps;
    const { volumeMode, fsType, encrypted, attributes = {} } = choice;
    let best: { readonly pool: string; readonly availableBytes: bigint } | undefined;
    const eligible = this.#pools
      .states()
      .filter((state) => state.isAccepting && refusePool(state, choice) === undefined);
    const names = eligible.map(({ name }) => name);
    if (choice.pool !== undefined) ledger.pool(choice.pool);
    for (const pool of choice.pool === undefined ? names : names.filter((name) => name === choice.pool)) {
      const { features } = ledger.pool(pool).backend;
      if (!makesForm(features, { volumeMode, fsType, encrypted })) continue;
      if (!hasAttributes(features, { volumeMode }, attributes)) continue;
      const { availableBytes } = (await ledger.measure(pool)).capacity();
      if (best === undefined || availableBytes > best.availableBytes) best = { pool, availableBytes };
    }
    if (best !== undefined) return best;
    const requested = describeChoice(choice);
    const suffix = requested === '' ? '' : ` for ${requested}`;
    throw new Fault('exhausted', `this node has no storage pool${suffix}`);
  }
}

/** Returns the attributes as a record has them: absent for none, as older versions wrote it. */
function recorded(attributes: VolumeAttributes): VolumeAttributes | undefined {
  return attributeNames(attributes).length === 0 ? undefined : attributes;
}
