import { LOCAL_VOLUMES, type LocalVolume, NODE_EXPANSION_REQUIRED, SIZED } from '../api/local-volume.ts';
import { canonicalJson, settleConditions, apiTime, type ApiCondition } from '../core/api-status.ts';
import { DRIVER_NAME } from '../core/driver.ts';
import { type Fault, isFault } from '../core/fault.ts';
import { exactQuantity } from '../core/provision-quantity.ts';
import { formatBytes, parseQuantity } from '../core/quantity.ts';
import { planResize, type ResizeInput, type ResizePlan } from '../core/resize-plan.ts';
import {
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
} from '../kube/built-in.ts';
import type { KubeClient, Precondition } from '../kube/client.ts';
import type { EventNote, EventRecorder } from '../kube/event-recorder.ts';
import { type KubeObject, keyOf, nameOfKey } from '../kube/resource.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import type { WorkResult } from '../runtime/work-queue.ts';
import type { Cluster } from './cluster.ts';
import { type Concern, type ConcernContext, onEach, subscriptions } from './concern.ts';

export interface ResizerDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A bound claim with all that its size is written on. */
interface Bound {
  readonly claim: PersistentVolumeClaim;
  readonly owner: PersistentVolume;
  readonly volume: LocalVolume;
}

/** The size that the PersistentVolume had before a file system that kubelet has still to grow; kubelet reads it. */
const PRE_RESIZE_CAPACITY = 'volume.alpha.kubernetes.io/pre-resize-capacity';
const CONDITIONS: ReadonlySet<string> = new Set([
  'Resizing',
  'FileSystemResizePending',
  'ControllerResizeError',
  'NodeResizeError',
]);

/** Gives claims the size that they ask for. Keys are those of claims. */
export function resizing(context: ConcernContext): Concern {
  const { claims, owners, volumes } = context.cluster;
  const resizer = new Resizer(context);
  const queue = context.queue('resize', 4, (key, signal) => resizer.reconcile(key, signal));
  const addClaimOf = ({ spec }: PersistentVolume): void => {
    if (spec?.claimRef !== undefined && spec.csi?.driver === DRIVER_NAME)
      queue.add(keyOfClaim(spec.claimRef));
  };
  return {
    queue,
    subscribe: () =>
      subscriptions(
        onEach(claims, (_claim, key) => queue.add(key)),
        onEach(owners, addClaimOf),
        onEach(volumes, ({ status }) => {
          for (const owner of owners.store.byIndex('handle', status?.volumeHandle ?? '')) addClaimOf(owner);
        }),
      ),
  };
}

/**
 * Takes the resize of a claim, by its key, one step further. Whether its class allows one is the API server's to check, when the claim
 * is changed.
 */
export class Resizer {
  readonly #deps: ResizerDeps;

  constructor(deps: ResizerDeps) {
    this.#deps = deps;
  }

  /** One step. The write that it makes brings the next one. */
  async reconcile(key: string, signal: AbortSignal): Promise<WorkResult> {
    const bound = this.#find(key);
    if (bound === undefined) return undefined;
    try {
      await this.#carryOut(bound, planResize(inputOf(bound)), signal);
      return undefined;
    } catch (error) {
      if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
      this.#deps.logger.debug({ claim: key, err: error }, 'a plan met a newer state');
      return { afterMs: 200 };
    }
  }

  async #carryOut(bound: Bound, plan: ResizePlan, signal: AbortSignal): Promise<void> {
    const { claim, owner } = bound;
    switch (plan.do) {
      case 'nothing':
        return;
      case 'say':
        await this.#say(claim, plan, signal);
        return;
      case 'ask':
        await this.#ask(bound, plan.sizeBytes, signal);
        return;
      case 'publish':
        await this.#publish(bound, plan.sizeBytes, signal);
        return;
      case 'hand-over':
        await this.#writeStatus(
          claim,
          {
            allocatedResources: { storage: exactQuantity(plan.allocatedBytes) },
            allocatedResourceStatuses: { storage: 'NodeResizePending' },
          },
          [
            {
              type: 'FileSystemResizePending',
              reason: '',
              message: 'the file system grows when a pod uses it',
            },
          ],
          signal,
        );
        this.#record(claim, 'Normal', 'FileSystemResizeRequired', 'the file system grows when a pod uses it');
        return;
      case 'finish':
        await this.#finish(claim, owner, plan.sizeBytes, signal);
    }
  }

  async #say(
    claim: PersistentVolumeClaim,
    { allocatedBytes, state, problem }: Extract<ResizePlan, { do: 'say' }>,
    signal: AbortSignal,
  ): Promise<void> {
    const resizing = { type: 'Resizing', reason: '', message: '' };
    await this.#writeStatus(
      claim,
      {
        allocatedResources: { storage: exactQuantity(allocatedBytes) },
        allocatedResourceStatuses: { storage: state },
      },
      [resizing, ...(problem === undefined ? [] : [errorCondition(problem)])],
      signal,
    );
    if (problem === undefined) {
      this.#record(claim, 'Normal', 'Resizing', `the volume grows to ${formatBytes(allocatedBytes)}`);
    } else {
      this.#record(claim, 'Warning', 'VolumeResizeFailed', problem.message);
    }
  }

  async #ask({ volume }: Bound, sizeBytes: bigint, signal: AbortSignal): Promise<void> {
    const { client, cluster } = this.#deps;
    const asked = await client.patch(
      LOCAL_VOLUMES,
      { name: volume.metadata?.name ?? '' },
      { merge: { spec: { size: exactQuantity(sizeBytes) } }, precondition: versionOf(volume) },
      { signal },
    );
    cluster.volumes.remember(asked);
  }

  async #publish({ claim, owner, volume }: Bound, sizeBytes: bigint, signal: AbortSignal): Promise<void> {
    const { client, cluster } = this.#deps;
    const before = claim.status?.capacity?.['storage'];
    const annotations =
      needsNodeExpansion(volume) && before !== undefined ? { [PRE_RESIZE_CAPACITY]: before } : {};
    const published = await client.patch(
      PERSISTENT_VOLUMES,
      { name: owner.metadata?.name ?? '' },
      {
        merge: { metadata: { annotations }, spec: { capacity: { storage: exactQuantity(sizeBytes) } } },
        precondition: versionOf(owner),
      },
      { signal },
    );
    cluster.owners.remember(published);
  }

  async #finish(
    claim: PersistentVolumeClaim,
    owner: PersistentVolume,
    sizeBytes: bigint,
    signal: AbortSignal,
  ): Promise<void> {
    if (owner.metadata?.annotations?.[PRE_RESIZE_CAPACITY] !== undefined) {
      const unmarked = await this.#deps.client.patch(
        PERSISTENT_VOLUMES,
        { name: owner.metadata.name ?? '' },
        {
          merge: { metadata: { annotations: { [PRE_RESIZE_CAPACITY]: null } } },
          precondition: versionOf(owner),
        },
        { signal },
      );
      this.#deps.cluster.owners.remember(unmarked);
    }
    const size = exactQuantity(sizeBytes);
    await this.#writeStatus(
      claim,
      {
        capacity: { storage: size },
        allocatedResources: { storage: size },
        allocatedResourceStatuses: { storage: null },
      },
      [],
      signal,
    );
    const isLarger = sizeBytes > parseQuantity(claim.status?.capacity?.['storage'] ?? '0', 'capacity');
    const note = isLarger
      ? `the volume has ${formatBytes(sizeBytes)} now`
      : `the volume keeps ${formatBytes(sizeBytes)}`;
    this.#record(claim, 'Normal', 'VolumeResizeSuccessful', note);
  }

  /** The claim's status with `conditions` in place of those that speak of a resize; no write when it says so already. */
  async #writeStatus(
    claim: PersistentVolumeClaim,
    status: object,
    conditions: readonly { readonly type: string; readonly reason: string; readonly message: string }[],
    signal: AbortSignal,
  ): Promise<void> {
    const known = (claim.status?.conditions ?? []) as readonly ApiCondition[];
    const now = apiTime(new Date(this.#deps.clock.nowMs()));
    const said = conditions.map((each) => ({ ...each, status: 'True' as const, lastTransitionTime: now }));
    const next = settleConditions(known, [...known.filter(({ type }) => !CONDITIONS.has(type)), ...said]);
    const isSaid =
      canonicalJson(said.map(({ type, message }) => [type, message])) ===
      canonicalJson(
        known.filter(({ type }) => CONDITIONS.has(type)).map(({ type, message }) => [type, message]),
      );
    const merge = { status: { ...status, ...(isSaid ? {} : { conditions: next }) } };
    if (isSaid && hasAll(claim.status, status)) return;
    const written = await this.#deps.client.patch(
      PERSISTENT_VOLUME_CLAIMS,
      nameOfKey(keyOf(claim)),
      { merge, precondition: versionOf(claim) },
      { subresource: 'status', signal },
    );
    this.#deps.cluster.claims.remember(written);
  }

  #record(claim: PersistentVolumeClaim, type: EventNote['type'], reason: string, note: string): void {
    this.#deps.events.record(PERSISTENT_VOLUME_CLAIMS, claim, { type, reason, action: 'Resize', note });
  }

  #find(key: string): Bound | undefined {
    const { claims, owners, volumes } = this.#deps.cluster;
    const claim = claims.store.get(key);
    if (claim?.status?.phase !== 'Bound' || claim.metadata?.deletionTimestamp !== undefined) return undefined;
    const owner = owners.store.get(claim.spec?.volumeName ?? '');
    if (owner?.spec?.csi?.driver !== DRIVER_NAME) return undefined;
    // A claim that says that it has a volume does not have it (CVE-2019-11255).
    if (owner.spec.claimRef?.uid !== claim.metadata?.uid) return undefined;
    const [volume] = volumes.store.byIndex('handle', owner.spec.csi.volumeHandle);
    return volume === undefined || volume.metadata?.deletionTimestamp !== undefined
      ? undefined
      : { claim, owner, volume };
  }
}

function inputOf({ claim, owner, volume }: Bound): ResizeInput {
  const { spec, status } = claim;
  const allocated = status?.allocatedResources?.['storage'];
  const sized = volume.status?.conditions?.find(({ type }) => type === SIZED);
  const isAnswered = sized?.status === 'False' && sized.observedGeneration === volume.metadata?.generation;
  return {
    claim: {
      requestBytes: parseQuantity(spec?.resources?.requests?.['storage'] ?? '0', 'claim request'),
      statusBytes: parseQuantity(status?.capacity?.['storage'] ?? '0', 'claim capacity'),
      allocatedBytes: allocated === undefined ? undefined : parseQuantity(allocated, 'allocatedResources'),
      state: status?.allocatedResourceStatuses?.['storage'],
      hasCondition: (status?.conditions ?? []).some(({ type }) => CONDITIONS.has(type)),
    },
    ownerBytes: parseQuantity(owner.spec?.capacity?.['storage'] ?? '0', 'PersistentVolume capacity'),
    volume: {
      specBytes: parseQuantity(volume.spec.size, 'LocalVolume size'),
      capacityBytes: parseQuantity(volume.status?.capacity ?? volume.spec.size, 'LocalVolume capacity'),
      refusal: isAnswered ? { reason: sized.reason, message: sized.message } : undefined,
      needsNodeExpansion: needsNodeExpansion(volume),
    },
  };
}

function needsNodeExpansion({ status }: LocalVolume): boolean {
  return (status?.conditions ?? []).some(
    ({ type, status: holds }) => type === NODE_EXPANSION_REQUIRED && holds === 'True',
  );
}

function errorCondition({ message }: Fault): { type: string; reason: string; message: string } {
  return { type: 'ControllerResizeError', reason: '', message };
}

/** Whether merging `patch` into `value` would change nothing. */
function hasAll(value: unknown, patch: unknown): boolean {
  if (patch === null) return value === undefined;
  if (typeof patch !== 'object') return value === patch;
  return Object.entries(patch).every(([key, part]) =>
    hasAll((value as Record<string, unknown> | undefined)?.[key], part),
  );
}

function keyOfClaim({
  namespace = '',
  name = '',
}: {
  readonly namespace?: string;
  readonly name?: string;
}): string {
  return `${namespace}/${name}`;
}

function versionOf({ metadata }: KubeObject): Precondition {
  return { uid: metadata?.uid, resourceVersion: metadata?.resourceVersion };
}
