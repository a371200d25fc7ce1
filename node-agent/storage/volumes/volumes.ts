import {
  type BackendKind,
  hasAttributes,
  leastBytes,
  makesForm,
  planForm,
  requireAttributes,
  requireCopies,
  type WantedForm,
} from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { type PoolSelector, refuseLabels } from '../../../src/core/pools/pool-selector.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import type { ContentSource, Pins, Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import {
  attributeNames,
  sameAttributes,
  type VolumeAttributes,
} from '../../../src/core/volumes/volume-attributes.ts';
import { checkName, formatId } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import { fitsRange, planExpansion, planSize, type SizeRange } from '../../../src/core/volumes/volume-size.ts';
import type { PoolSet, PoolState } from '../contract/pool.ts';
import { dissolve, type OperationDeps, randomId, undo } from '../operations/volume-snapshot-operations.ts';
import { newSalt } from '../contract/volume-key.ts';

/** Which pools come into question; all when nothing is named. */
export interface PoolChoice extends Partial<WantedForm> {
  readonly pool: string | undefined;
  readonly poolSelector?: PoolSelector | undefined;
  readonly backend?: BackendKind | undefined;
  /** What the volume is to have from the start; nothing of it is limited when absent. */
  readonly attributes?: VolumeAttributes | undefined;
}

/** Without a pool it is the source's, or the one with most room that can make such a volume. */
export interface CreateVolume extends PoolChoice {
  readonly name: string;
  readonly range: SizeRange;
  readonly source: ContentSource | undefined;
  /** True for a volume that goes with a pod. */
  readonly ephemeral?: true;
}

/** Makes, resizes and deletes volumes. */
export class Volumes {
  readonly #deps: OperationDeps;
  readonly #pools: Pick<PoolSet, 'states'>;

  constructor({ pools, ...deps }: OperationDeps & { readonly pools: Pick<PoolSet, 'states'> }) {
    this.#pools = pools;
    this.#deps = deps;
  }

  /**
   * Ensures the volume of that name. Throws `conflict` when the name is taken by another kind of volume, `not-found` for an unknown source,
   * `exhausted` when the pool has no room, `busy` while the same name or source is worked on. `held` is its
   * source where the caller holds that: it may be no more than whole yet.
   */
  async create(request: CreateVolume, held?: Snapshot): Promise<Volume> {
    const { inventory, locks } = this.#deps;
    checkName(request.name, 'name');
    using _name = locks.take(`volume name ${request.name}`);
    for (const existing of inventory.volumes.values()) {
      if (existing.name !== request.name) continue;
      if (existing.phase === 'ready') return requireSame(existing, request);
      using _volume = locks.take(existing.id);
      await dissolve('volume', existing, this.#deps);
    }
    if (request.source === undefined || held !== undefined) return await this.#make(request, held);
    using _source = locks.take(request.source.id);
    return await this.#make(request, this.#findSource(request.source));
  }

  async #make(request: CreateVolume, source: Volume | Snapshot | undefined): Promise<Volume> {
    const { inventory, ledger, locks, limiter, clock, logger } = this.#deps;
    const { attributes = {} } = request;
    limiter.require(attributes);
    const pool = await this.#choosePool(request, source);
    const { backend } = ledger.pool(pool);
    this.#requireAccepting(pool);
    if (source !== undefined) requireCopies(pool, backend.features);
    const form = planForm(pool, backend.features, request, source);
    requireAttributes(pool, backend.features, form.volumeMode, attributes);
    const sizeBytes = planSize(request.range, source?.sizeBytes, leastBytes(backend.features, form));
    // How much a source holds has to be known as of now.
    const { usage, capacity } =
      source === undefined ? await ledger.measureFor(pool, sizeBytes) : await ledger.measure(pool);
    const parent = request.source?.kind === 'volume' ? inventory.volumes.get(request.source.id) : undefined;
    const charged = parent === undefined ? 0n : (usage.volumes.get(parent.id)?.usedBytes ?? 0n);
    const extra = parent === undefined ? 0n : ledger.extraForPin(parent, charged);
    checkRoom(pool, sizeBytes + extra, capacity(), `volume ${request.name}`);
    const volume: Volume = {
      id: formatId('vol', randomId()),
      name: request.name,
      pool,
      sizeBytes,
      ...form,
      attributes: recorded(attributes),
      source: request.source,
      encryption: source?.encryption ?? (request.encrypted === true ? { salt: newSalt() } : undefined),
      ephemeral: request.ephemeral,
      phase: 'creating',
      createdAtMs: clock.nowMs(),
      pins: parent === undefined ? (source?.pins ?? {}) : pinsOfCopy(parent, charged),
      staged: [],
      published: [],
    };
    // It is seen as soon as its last record is on its way to the disk: whoever wants it has to wait for that.
    using _volume = locks.take(volume.id);
    try {
      // Crash window: intent on record, nothing, half or all of it made. The next start dissolves it.
      await inventory.saveVolume(volume);
      const pins = parent === undefined ? await this.#fill(volume) : await this.#clone(volume, parent);
      await backend.setLimit(volume, sizeBytes);
      const ready: Volume = { ...volume, phase: 'ready', pins };
      await inventory.saveVolume(ready);
      if (parent !== undefined) await ledger.enforce(parent);
      logger.info({ volumeId: volume.id, pool, sizeBytes, source: request.source?.id }, 'volume created');
      return ready;
    } catch (error) {
      await undo('volume', volume, this.#deps);
      throw error;
    }
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

  /** Grows the volume, also while it is in use. Resolves to its new size; asking for less than it has changes nothing. */
  async expand(id: string, range: SizeRange): Promise<Volume> {
    const { inventory, ledger, locks } = this.#deps;
    this.get(id);
    using _lock = locks.take(id);
    const before = this.get(id);
    const sizeBytes = planExpansion(range, before.sizeBytes);
    const volume = { ...before, sizeBytes };
    if (sizeBytes > before.sizeBytes) {
      const { capacity } = await ledger.measure(before.pool);
      checkRoom(before.pool, sizeBytes - before.sizeBytes, capacity(), `expanding volume ${id}`);
      await inventory.saveVolume(volume);
    }
    // Also when nothing grew: an expansion may have been cut off right here.
    await ledger.enforce(volume);
    await ledger.pool(volume.pool).mounts.grow(volume);
    return volume;
  }

  /** Sets all attributes of the volume anew, also while it is in use. Throws `invalid` for those that it cannot have. */
  async modify(id: string, attributes: VolumeAttributes): Promise<Volume> {
    const { inventory, ledger, limiter, locks, logger } = this.#deps;
    this.get(id);
    using _lock = locks.take(id);
    const before = this.get(id);
    limiter.require(attributes);
    requireAttributes(before.pool, ledger.pool(before.pool).backend.features, before.volumeMode, attributes);
    const volume: Volume = { ...before, attributes: recorded(attributes) };
    const isNew = !sameAttributes(before.attributes ?? {}, attributes);
    // Crash window: on record, not in force. The next start, or the same call again, puts it in force.
    if (isNew) await inventory.saveVolume(volume);
    await ledger.enforce(volume);
    await limiter.refresh();
    if (isNew) logger.info({ volumeId: id, attributes }, 'volume modified');
    return volume;
  }

  /** Ensures that the volume is gone. Unknown ids are fine. Throws `precondition` while it is published. */
  async delete(id: string): Promise<void> {
    const { inventory, ledger, locks, logger } = this.#deps;
    if (!inventory.volumes.has(id)) return;
    using _lock = locks.take(id);
    const volume = inventory.volumes.get(id);
    if (volume === undefined) return;
    const { mounts } = ledger.pool(volume.pool);
    for (const { target } of volume.published) {
      if (!(await mounts.isMounted(volume, target))) continue;
      throw new Fault('precondition', `volume ${id} is in use at ${target}; unpublish it first`, {
        fields: { volumeId: id, target },
      });
    }
    // A stage alone does not hold it back: kubelet can forget to unstage (kubernetes/kubernetes#85476).
    const deleting: Volume = { ...volume, phase: 'deleting', staged: [], published: [] };
    await inventory.saveVolume(deleting);
    await dissolve('volume', deleting, this.#deps);
    await this.#deps.limiter.lift(volume);
    logger.info({ volumeId: id, pool: volume.pool }, 'volume deleted');
  }

  /** Throws `not-found` for an id that is not that of a finished volume. */
  get(id: string): Volume {
    const volume = this.#deps.inventory.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`, {
      fields: { volumeId: id.slice(0, 128) },
    });
  }

  #findSource({ kind, id }: ContentSource): Volume | Snapshot {
    const { inventory } = this.#deps;
    const found = kind === 'volume' ? inventory.volumes.get(id) : inventory.snapshots.get(id);
    if (found?.phase === 'ready') return found;
    throw new Fault('not-found', `the source ${kind} ${id.slice(0, 128)} does not exist on this node`, {
      fields: { sourceId: id.slice(0, 128) },
    });
  }

  async #choosePool(request: CreateVolume, source: Volume | Snapshot | undefined): Promise<string> {
    const { pool: wanted } = request;
    if (wanted !== undefined) this.#requireAskedFor(wanted, request);
    if (source !== undefined) {
      if (wanted === undefined || wanted === source.pool) {
        this.#requireAskedFor(source.pool, request);
        return source.pool;
      }
      throw new Fault('invalid', `the source is in pool ${source.pool}; a copy cannot be in pool ${wanted}`, {
        fields: { pool: wanted, sourcePool: source.pool },
      });
    }
    return wanted ?? (await this.roomiest(request)).pool;
  }

  /** Throws `invalid` for a pool that this node does not have or that is not of those that are asked for, `unavailable` for a closed one. */
  #requireAskedFor(name: string, choice: PoolChoice): void {
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
      `pool ${name} takes no new volumes: ${state?.problem ?? 'it is being opened'}`,
      { fields: { pool: name } },
    );
  }

  /** The pool with the most room of those that come into question, and how much that is. Throws `exhausted` when there is none. */
  async roomiest(choice: PoolChoice): Promise<{ readonly pool: string; readonly availableBytes: bigint }> {
    const { ledger } = this.#deps;
    const { volumeMode, fsType, encrypted, backend, poolSelector, attributes = {} } = choice;
    let best: { readonly pool: string; readonly availableBytes: bigint } | undefined;
    const fitting = this.#pools
      .states()
      .filter((state) => state.isAccepting && refusePool(state, choice) === undefined);
    const names = fitting.map(({ name }) => name);
    if (choice.pool !== undefined) ledger.pool(choice.pool);
    for (const pool of choice.pool === undefined ? names : names.filter((name) => name === choice.pool)) {
      const { features } = ledger.pool(pool).backend;
      if (!makesForm(features, { volumeMode, fsType, encrypted })) continue;
      if (!hasAttributes(features, { volumeMode }, attributes)) continue;
      const { availableBytes } = (await ledger.measure(pool)).capacity();
      if (best === undefined || availableBytes > best.availableBytes) best = { pool, availableBytes };
    }
    if (best !== undefined) return best;
    const special = encrypted === true ? 'encryption' : undefined;
    const labels = poolSelector && `poolSelector ${poolSelector.text}`;
    const wanted = [labels, special, backend, volumeMode, fsType, ...attributeNames(attributes)]
      .filter((word) => word !== undefined)
      .join(', ');
    throw new Fault('exhausted', `this node has no storage pool${wanted === '' ? '' : ` for ${wanted}`}`);
  }
}

/** Why the pool is not of those that are asked for; undefined when it is. */
function refusePool(
  { backend, labels }: PoolState,
  { backend: wanted, poolSelector }: PoolChoice,
): string | undefined {
  if (wanted !== undefined && wanted !== backend) return `has backend ${backend}, and ${wanted} is asked for`;
  return poolSelector && refuseLabels(poolSelector, labels);
}

/** As a record has them: a volume without any is as older versions know it. */
function recorded(attributes: VolumeAttributes): VolumeAttributes | undefined {
  return attributeNames(attributes).length === 0 ? undefined : attributes;
}

/** A selector of pools is not asked again: the labels of a pool may have changed since the volume was made in it. */
function requireSame(existing: Volume, request: CreateVolume): Volume {
  const { name, pool, range, source, volumeMode, fsType, encrypted, attributes = {} } = request;
  const same =
    fitsRange(existing.sizeBytes, range) &&
    (pool === undefined || pool === existing.pool) &&
    (volumeMode === undefined || volumeMode === existing.volumeMode) &&
    (fsType === undefined || fsType === existing.fsType) &&
    (encrypted === undefined || encrypted === (existing.encryption !== undefined)) &&
    existing.ephemeral === request.ephemeral &&
    sameAttributes(existing.attributes ?? {}, attributes) &&
    existing.source?.kind === source?.kind &&
    existing.source?.id === source?.id;
  if (same) return existing;
  throw new Fault(
    'conflict',
    `volume ${name} (${existing.volumeMode}, ${existing.fsType ?? 'no file system'}) exists with ${existing.sizeBytes} bytes${existing.encryption === undefined ? '' : ', encrypted,'} in pool ${existing.pool}, made from ${existing.source?.id ?? 'nothing'}; what is asked for differs`,
    { fields: { volumeId: existing.id } },
  );
}
