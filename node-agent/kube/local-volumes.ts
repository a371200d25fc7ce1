import { DATA_FINALIZER, LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { parseEncrypted } from '../../src/core/volumes/encryption.ts';
import { Fault } from '../../src/core/fault.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { type Change, Informer, type InformerObserver } from '../../src/kube/informer.ts';
import type { ReadonlyStore } from '../../src/kube/object-store.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { WorkQueue, type WorkResult } from '../../src/runtime/work-queue.ts';
import {
  type Copy,
  type FoundSource,
  type Observed,
  planVolume,
  type VolumePlan,
} from './local-volume-plan.ts';
import { findSnapshot, type LocalVolumeStorage } from './local-volume-storage.ts';
import { type Outcome, phaseAfter, planHeldStatus, planStatus } from './local-volume-status.ts';

/** Field manager of the agent's server-side apply. */
export const FIELD_MANAGER = 'keelson-agent';

export interface LocalVolumesOptions {
  readonly nodeName: string;
}

export interface LocalVolumesDeps {
  readonly client: KubeClient;
  readonly storage: LocalVolumeStorage;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
}

/**
 * Volumes reconciled concurrently: they share the disk's work, and the measurement of their pool.
 */
const WORKERS = 16;
/** A change that failed is retried after this: space may have become free. */
const RETRY_MS = 60_000;
/** An idle watch has a bookmark each minute. */
const SILENCE_MS = 150_000;

/**
 * Creates, changes and deletes this node's volumes as its LocalVolumes request, and reports their
 * state. Nothing changes on disk while the API server is unreachable, nor when an object is absent:
 * data is only deleted after its object requested it.
 */
export class LocalVolumes {
  readonly #deps: LocalVolumesDeps;
  readonly #clock: Clock;
  readonly #informer: Informer<LocalVolume>;
  readonly #queue: WorkQueue<string>;

  constructor({ nodeName }: LocalVolumesOptions, deps: LocalVolumesDeps) {
    const { client, logger, clock = systemClock, observer } = deps;
    this.#deps = deps;
    this.#clock = clock;
    this.#informer = new Informer(
      {
        resource: LOCAL_VOLUMES,
        fieldSelector: `spec.nodeName=${nodeName}`,
        indexers: { group: ({ spec }) => [spec.group?.name ?? []].flat(), source: sourcesOf },
      },
      { client, logger, clock, ...(observer === undefined ? {} : { observer }) },
    );
    this.#queue = new WorkQueue(
      { name: 'local-volumes', workers: WORKERS, backoff: { baseMs: 50, maxMs: 30_000 } },
      (key) => this.#reconcile(key),
      { logger, clock },
    );
  }

  /** The LocalVolumes of this node; undefined until they were listed once. */
  get objects(): ReadonlyStore<LocalVolume> | undefined {
    return this.#informer.hasSynced ? this.#informer.store : undefined;
  }

  /**
   * The same while the API server responds; undefined also when the watch has been idle for longer
   * than a working one is.
   */
  get current(): ReadonlyStore<LocalVolume> | undefined {
    const { lastContactAgeMs } = this.#informer;
    return lastContactAgeMs === undefined || lastContactAgeMs > SILENCE_MS ? undefined : this.objects;
  }

  /** Resolves when the LocalVolumes were listed once. */
  async synced(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#informer.synced(options);
  }

  /** Runs until the signal aborts, then finishes the steps in progress. */
  async run(signal: AbortSignal): Promise<void> {
    using _subscribed = this.#informer.subscribe((change) => {
      if (change.current !== undefined) this.#queue.add(change.key);
      for (const waiting of this.#waitingFor(change)) this.#queue.add(nameOf(waiting));
    });
    const worked = this.#informer.synced({ signal }).then(
      () => this.#queue.run(signal),
      () => undefined,
    );
    await Promise.all([this.#informer.run(signal), worked]);
  }

  /** LocalVolumes that may wait for the change: copies of it, and members of its group. */
  #waitingFor({ key, previous, current }: Change<LocalVolume>): readonly LocalVolume[] {
    const isNews =
      previous?.status?.phase !== current?.status?.phase ||
      previous?.metadata?.deletionTimestamp !== current?.metadata?.deletionTimestamp;
    if (!isNews) return [];
    const { store } = this.#informer;
    const group = (current ?? previous)?.spec.group?.name;
    const members = group === undefined ? [] : store.byIndex('group', group);
    return [...store.byIndex('source', key), ...members.filter((member) => nameOf(member) !== key)];
  }

  async #reconcile(key: string): Promise<WorkResult> {
    const object = this.#informer.store.get(key);
    if (object === undefined) return undefined;
    const copy = this.#findCopy(object);
    const unreadable = copy === undefined ? await this.#findUnreadable(object) : undefined;
    const plan = planVolume(object, {
      ...{ copy, unreadable },
      source: this.#findSource(object.spec.source ?? {}),
      ...this.#findGroup(object),
    });
    return await this.#perform(object, plan);
  }

  async #perform(object: LocalVolume, plan: VolumePlan): Promise<WorkResult> {
    switch (plan.step) {
      case 'none':
        return undefined;
      case 'protect':
        // The informer triggers the next step.
        await this.#writeFinalizers(object, [...finalizersOf(object), DATA_FINALIZER]);
        return undefined;
      case 'create':
      case 'snapshot':
      case 'group-snapshot':
        return await this.#make(object, plan);
      case 'change':
        return await this.#change(object, plan);
      case 'report-ready':
        await this.#report(object, { copy: plan.copy });
        return undefined;
      case 'report':
        await this.#report(object, plan);
        if (plan.phase === 'Pending') throw plan.fault;
        return undefined;
      case 'delete':
      case 'delete-group':
        await this.#deleteData(object, plan);
        await this.#release(object);
        return undefined;
      case 'release':
        await this.#release(object);
        return undefined;
      case 'hold':
        await this.#apply(object, planHeldStatus(object, plan.fault, this.#now()));
        throw plan.fault;
    }
  }

  async #make(
    object: LocalVolume,
    plan: Extract<VolumePlan, { readonly step: 'create' | 'snapshot' | 'group-snapshot' }>,
  ): Promise<WorkResult> {
    const name = nameOf(object);
    const { storage } = this.#deps;
    try {
      // Crash window: the volume exists, and its status does not report it. It is then found by its
      // name.
      if (plan.step === 'group-snapshot') {
        // The other members find their snapshots then.
        await storage.groups.create(plan.name, plan.volumeIds);
        return { afterMs: 0 };
      }
      const copy =
        plan.step === 'snapshot'
          ? await storage.snapshots.create(name, plan.volumeId)
          : await storage.volumes.create({
              name,
              pool: object.spec.poolName,
              volumeMode: object.spec.volumeMode,
              fsType: object.spec.fsType,
              encrypted: parseEncrypted(object.spec.parameters?.['encrypted'], 'spec.parameters'),
              range: { requiredBytes: plan.sizeBytes, limitBytes: 0n },
              source: plan.source,
              attributes: plan.attributes,
            });
      await this.#report(object, { copy });
      return undefined;
    } catch (error) {
      const fault = Fault.from(error);
      // Faults of the API server come from the report above: the volume exists, so its phase does
      // not depend on them.
      const copy = this.#findCopy(object);
      if (copy !== undefined && fault.kind === 'not-found') {
        await this.#takeBack(object, copy);
        return undefined;
      }
      const phase = copy === undefined ? phaseAfter(fault) : undefined;
      if (phase !== undefined) await this.#report(object, { phase, fault });
      if (phase === undefined || phase === 'Pending') throw fault;
      this.#deps.logger.warn({ volume: name, phase, err: fault }, 'cannot create the volume');
      return undefined;
    }
  }

  /**
   * The LocalVolume was released while its volume was being created, because this node was
   * unresponsive. Its handle was never published, so the volume was never used. Crash window: the
   * volume stays, and the inventory lists it as orphaned.
   */
  async #takeBack(object: LocalVolume, { id }: Copy): Promise<void> {
    await this.#removeData(object, id);
    this.#deps.logger.info(
      { volume: nameOf(object), volumeId: id },
      'removed a volume whose LocalVolume was released',
    );
  }

  /** Independent steps: a full pool must not delay a limit. */
  async #change(
    object: LocalVolume,
    { copy, sizeBytes, attributes }: Extract<VolumePlan, { readonly step: 'change' }>,
  ): Promise<WorkResult> {
    const { storage } = this.#deps;
    let changed = copy;
    const attempt = async (work: () => Promise<Copy>): Promise<Fault | undefined> => {
      try {
        changed = await work();
        return undefined;
      } catch (error) {
        const fault = Fault.from(error);
        if (phaseAfter(fault) === undefined) throw fault;
        return fault;
      }
    };
    const range = { requiredBytes: sizeBytes ?? 0n, limitBytes: 0n };
    const fault =
      sizeBytes === undefined ? undefined : await attempt(() => storage.volumes.expand(copy.id, range));
    const attributesFault =
      attributes === undefined ? undefined : await attempt(() => storage.volumes.modify(copy.id, attributes));
    await this.#report(object, { copy: changed, fault, attributesFault });
    return fault === undefined && attributesFault === undefined ? undefined : { afterMs: RETRY_MS };
  }

  async #deleteData(
    object: LocalVolume,
    plan: Extract<VolumePlan, { readonly step: 'delete' | 'delete-group' }>,
  ): Promise<void> {
    try {
      if (plan.step === 'delete-group') await this.#deps.storage.groups.delete(plan.groupId, []);
      else await this.#removeData(object, plan.id);
    } catch (error) {
      const fault = Fault.from(error);
      if (phaseAfter(fault) !== undefined) {
        await this.#apply(object, planHeldStatus(object, fault, this.#now()));
      }
      throw fault;
    }
  }

  async #removeData({ spec }: LocalVolume, id: string): Promise<void> {
    const { storage } = this.#deps;
    if (spec.type === 'Snapshot') await storage.snapshots.delete(id);
    else await storage.volumes.delete(id);
  }

  async #release(object: LocalVolume): Promise<void> {
    await this.#writeFinalizers(
      object,
      finalizersOf(object).filter((finalizer) => finalizer !== DATA_FINALIZER),
    );
  }

  async #report(object: LocalVolume, outcome: Outcome): Promise<void> {
    await this.#apply(object, planStatus(object, outcome, this.#now()));
  }

  /** With the UID: an object that took its name meanwhile is another volume. */
  async #apply(object: LocalVolume, status: LocalVolume['status']): Promise<void> {
    if (status === undefined) return;
    const name = nameOf(object);
    const answer = await this.#deps.client.patch(
      LOCAL_VOLUMES,
      { name },
      {
        apply: { metadata: { uid: object.metadata?.uid }, status },
        fieldManager: FIELD_MANAGER,
        force: true,
      },
      { subresource: 'status' },
    );
    this.#informer.remember(answer);
  }

  /** Requires this version, because the list is replaced as a whole. */
  async #writeFinalizers(object: LocalVolume, finalizers: readonly string[]): Promise<void> {
    const { uid, resourceVersion } = object.metadata ?? {};
    try {
      const answer = await this.#deps.client.patch(
        LOCAL_VOLUMES,
        { name: nameOf(object) },
        { merge: { metadata: { finalizers } }, precondition: { uid, resourceVersion } },
        { fieldManager: FIELD_MANAGER },
      );
      this.#informer.remember(answer);
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.kind !== 'not-found') throw fault;
    }
  }

  #findCopy({ metadata, spec, status }: LocalVolume): Copy | undefined {
    const { storage } = this.#deps;
    const handle = status?.volumeHandle;
    const wanted = handle === undefined ? { name: metadata?.name ?? '' } : { id: handle };
    return spec.type === 'Snapshot' ? findSnapshot(storage, wanted) : storage.volumes.find(wanted);
  }

  async #findUnreadable({ status }: LocalVolume): Promise<string | undefined> {
    const handle = status?.volumeHandle;
    if (handle === undefined) return undefined;
    const suffix = `/${handle}.json`;
    const { quarantined } = await this.#deps.storage.health.report();
    const found = quarantined.find(({ file }) => file.endsWith(suffix));
    return found === undefined ? undefined : `${found.file}: ${found.reason}`;
  }

  #findGroup({
    metadata,
    spec: { group },
  }: LocalVolume): Pick<Observed, 'groupSources' | 'remainingMembers'> {
    if (group === undefined) return {};
    const members = this.#informer.store
      .byIndex('group', group.name)
      .filter(
        (other) => other.metadata?.uid !== metadata?.uid && other.metadata?.deletionTimestamp === undefined,
      );
    return {
      groupSources: group.volumeNames.map((volumeName) => this.#findSource({ volumeName })),
      remainingMembers: members.map(nameOf),
    };
  }

  #findSource({ volumeName, snapshotName }: NonNullable<LocalVolume['spec']['source']>): FoundSource {
    const name = volumeName ?? snapshotName;
    if (name === undefined) return undefined;
    const { storage } = this.#deps;
    const kind = volumeName === undefined ? 'snapshot' : 'volume';
    const found = kind === 'snapshot' ? findSnapshot(storage, { name }) : storage.volumes.find({ name });
    if (found !== undefined) return { kind, id: found.id };
    const announced = this.#informer.store.get(name);
    const coming = announced !== undefined && announced.metadata?.deletionTimestamp === undefined;
    const hopeless = ['Failed', 'Exhausted', 'Lost'].includes(announced?.status?.phase ?? '');
    return coming && !hopeless ? 'awaited' : 'missing';
  }

  #now(): Date {
    return new Date(this.#clock.nowMs());
  }
}

function nameOf({ metadata }: LocalVolume): string {
  return metadata?.name ?? '';
}

function finalizersOf({ metadata }: LocalVolume): readonly string[] {
  return metadata?.finalizers ?? [];
}

/** Names of the LocalVolumes that must exist before it can be created. */
function sourcesOf({ spec: { source, group } }: LocalVolume): readonly string[] {
  return [source?.volumeName ?? source?.snapshotName ?? [], group?.volumeNames ?? []].flat();
}
