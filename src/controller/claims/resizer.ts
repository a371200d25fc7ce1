import type { EventReason } from '../../core/reasons/event-reasons.ts';
import { LOCAL_VOLUMES, type LocalVolume, NODE_EXPANSION_REQUIRED, SIZED } from '../../api/local-volume.ts';
import type { Fault } from '../../core/fault.ts';
import { exactQuantity } from '../../core/kube-text/exact-quantity.ts';
import { formatBytes, parseQuantity } from '../../core/kube-text/quantity.ts';
import { planResize, type ResizeInput, type ResizePlan } from '../../core/claims/resize-plan.ts';
import {
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
} from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { EventNote, EventRecorder } from '../../kube/event-recorder.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { type Bound, onBound, stepBound, versionOf } from './bound-claim.ts';
import { writeClaimStatus } from './claim-status.ts';
import type { Cluster } from '../context/cluster.ts';
import type { Reconciler, ControllerContext } from '../context/controller-context.ts';

interface ResizerDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/**
 * Capacity of the PersistentVolume before an expansion whose file system kubelet has still to grow;
 * kubelet reads it.
 */
const PRE_RESIZE_CAPACITY = 'volume.alpha.kubernetes.io/pre-resize-capacity';
const CONDITIONS: ReadonlySet<string> = new Set([
  'Resizing',
  'FileSystemResizePending',
  'ControllerResizeError',
  'NodeResizeError',
]);

/** Creates the reconciler that expands volumes. Keys are those of claims. */
export function createResizer(context: ControllerContext): Reconciler {
  const resizer = new Resizer(context);
  const queue = context.queue('resize', 4, (key, signal) => resizer.reconcile(key, signal));
  return { queue, subscribe: () => onBound(context.cluster, queue) };
}

/**
 * Expands the volume of a claim, one step at a time. The API server has checked
 * `allowVolumeExpansion`.
 */
class Resizer {
  readonly #deps: ResizerDeps;

  constructor(deps: ResizerDeps) {
    this.#deps = deps;
  }

  /** Takes one step. The write that it makes triggers the next step. */
  async reconcile(key: string, signal: AbortSignal): Promise<WorkResult> {
    return await stepBound(key, this.#deps, (bound) =>
      this.#carryOut(bound, planResize(inputOf(bound)), signal),
    );
  }

  async #carryOut(bound: Bound, plan: ResizePlan, signal: AbortSignal): Promise<void> {
    const { claim, owner } = bound;
    switch (plan.do) {
      case 'nothing':
        return;
      case 'say':
        await this.#recordEvent(claim, plan, signal);
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
              message: 'kubelet expands the file system when a pod uses the volume',
            },
          ],
          signal,
        );
        this.#record(
          claim,
          'Normal',
          'FileSystemResizeRequired',
          'kubelet expands the file system when a pod uses the volume',
        );
        return;
      case 'finish':
        await this.#finish(claim, owner, plan.sizeBytes, signal);
    }
  }

  async #recordEvent(
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
      this.#record(claim, 'Normal', 'Resizing', `expanding the volume to ${formatBytes(allocatedBytes)}`);
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
      const unannotated = await this.#deps.client.patch(
        PERSISTENT_VOLUMES,
        { name: owner.metadata.name ?? '' },
        {
          merge: { metadata: { annotations: { [PRE_RESIZE_CAPACITY]: null } } },
          precondition: versionOf(owner),
        },
        { signal },
      );
      this.#deps.cluster.owners.remember(unannotated);
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
      ? `expanded the volume to ${formatBytes(sizeBytes)}`
      : `the volume keeps ${formatBytes(sizeBytes)}`;
    this.#record(claim, 'Normal', 'VolumeResizeSuccessful', note);
  }

  async #writeStatus(
    claim: PersistentVolumeClaim,
    status: object,
    conditions: readonly { readonly type: string; readonly reason: string; readonly message: string }[],
    signal: AbortSignal,
  ): Promise<void> {
    await writeClaimStatus(claim, { status, own: CONDITIONS, conditions }, this.#deps, signal);
  }

  #record(claim: PersistentVolumeClaim, type: EventNote['type'], reason: EventReason, note: string): void {
    this.#deps.events.record(PERSISTENT_VOLUME_CLAIMS, claim, { type, reason, action: 'Resize', note });
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
