import type { EventReason } from '../../core/reasons/event-reasons.ts';
import { LOCAL_VOLUMES, type LocalVolume, MODIFIED } from '../../api/local-volume.ts';
import type { Fault } from '../../core/fault.ts';
import {
  type ModifyInput,
  type ModifyPlan,
  type ModifyVolume,
  planModify,
} from '../../core/claims/modify-plan.ts';
import {
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolumeClaim,
  VOLUME_ATTRIBUTES_CLASSES,
} from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { EventNote, EventRecorder } from '../../kube/event-recorder.ts';
import { keyOf } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { type AttributesClasses, findAttributesClass } from './attributes-classes.ts';
import { type Bound, onBound, stepBound, versionOf } from './bound-claim.ts';
import { writeClaimStatus } from './claim-status.ts';
import { type Cluster, runInformers } from '../context/cluster.ts';
import {
  type Reconciler,
  type ControllerContext,
  reconcilerOfTasks,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';
import { untilServed } from '../context/served-kinds.ts';

interface ModifierDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Cluster;
  readonly classes: Pick<AttributesClasses, 'store'>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Condition types of claims and event reasons, as external-resizer names them. */
const MODIFYING = 'ModifyingVolume';
const MODIFY_ERROR = 'ModifyVolumeError';
const CONDITIONS: ReadonlySet<string> = new Set([MODIFYING, MODIFY_ERROR]);

/**
 * Creates the reconciler that applies VolumeAttributesClasses to volumes. It waits until the
 * cluster serves the kind, without delaying the others.
 */
export function createModifier(context: ControllerContext, classes: AttributesClasses): Reconciler {
  const { cluster } = context;
  const modifier = new Modifier({ ...context, classes });
  const queue = context.queue('modify', 4, (key, signal) => modifier.reconcile(key, signal));
  const addByClass = (name: string): void => {
    for (const claim of cluster.claims.store.byIndex('attributesClass', name)) queue.add(keyOf(claim));
  };
  return reconcilerOfTasks(context, (tasks) => {
    tasks.run('volume attributes classes', async (signal) => {
      await untilServed([VOLUME_ATTRIBUTES_CLASSES], 'volume attributes classes', context, signal);
      await runInformers({ classes }, tasks, signal);
      using _subscribed = subscriptions(
        onBound(cluster, queue),
        onEach(classes, (_class, name) => addByClass(name)),
      );
      await queue.run(signal);
    });
  });
}

/** Applies the VolumeAttributesClass of a claim, one step at a time. Keys are those of claims. */
class Modifier {
  readonly #deps: ModifierDeps;

  constructor(deps: ModifierDeps) {
    this.#deps = deps;
  }

  /** Takes one step. The write that it makes triggers the next step. */
  async reconcile(key: string, signal: AbortSignal): Promise<WorkResult> {
    return await stepBound(key, this.#deps, (bound) =>
      this.#carryOut(bound, planModify(this.#inputOf(bound)), signal),
    );
  }

  async #carryOut({ claim, owner, volume }: Bound, plan: ModifyPlan, signal: AbortSignal): Promise<void> {
    const { client, cluster } = this.#deps;
    switch (plan.do) {
      case 'nothing':
        return;
      case 'say':
        await this.#recordEvent(claim, plan, signal);
        return;
      case 'ask': {
        const parameters = replacing(volume.spec.mutableParameters, plan.parameters);
        const spec = { attributesClassName: plan.className || null, mutableParameters: parameters };
        const asked = await client.patch(
          LOCAL_VOLUMES,
          { name: volume.metadata?.name ?? '' },
          { merge: { spec }, precondition: versionOf(volume) },
          { signal },
        );
        cluster.volumes.remember(asked);
        return;
      }
      case 'publish': {
        const published = await client.patch(
          PERSISTENT_VOLUMES,
          { name: owner.metadata?.name ?? '' },
          {
            merge: { spec: { volumeAttributesClassName: plan.className } },
            precondition: versionOf(owner),
          },
          { signal },
        );
        cluster.owners.remember(published);
        return;
      }
      case 'finish': {
        const status = { currentVolumeAttributesClassName: plan.className, modifyVolumeStatus: null };
        await this.#write(claim, status, [], signal);
        const note = `applied VolumeAttributesClass ${plan.className}`;
        this.#record(claim, 'Normal', 'VolumeModifySuccessful', note);
        return;
      }
      case 'cancel':
        await this.#write(claim, {}, [], signal);
        this.#record(
          claim,
          'Normal',
          'VolumeModifyCanceled',
          'the volume keeps its parameters, without a VolumeAttributesClass',
        );
    }
  }

  async #recordEvent(
    claim: PersistentVolumeClaim,
    { state, target, problem }: Extract<ModifyPlan, { do: 'say' }>,
    signal: AbortSignal,
  ): Promise<void> {
    const modifyVolumeStatus = { status: state, targetVolumeAttributesClassName: target };
    const modifying = { type: MODIFYING, reason: '', message: `to VolumeAttributesClass ${target}` };
    const conditions =
      state === 'Pending' ? [] : [modifying, ...(problem === undefined ? [] : [errorCondition(problem)])];
    await this.#write(claim, { modifyVolumeStatus }, conditions, signal);
    if (problem === undefined) {
      this.#record(claim, 'Normal', 'VolumeModify', `applying VolumeAttributesClass ${target}`);
    } else {
      this.#record(claim, 'Warning', 'VolumeModifyFailed', problem.message);
    }
  }

  async #write(
    claim: PersistentVolumeClaim,
    status: object,
    conditions: readonly { readonly type: string; readonly reason: string; readonly message: string }[],
    signal: AbortSignal,
  ): Promise<void> {
    await writeClaimStatus(claim, { status, own: CONDITIONS, conditions }, this.#deps, signal);
  }

  #record(claim: PersistentVolumeClaim, type: EventNote['type'], reason: EventReason, note: string): void {
    this.#deps.events.record(PERSISTENT_VOLUME_CLAIMS, claim, { type, reason, action: 'Modify', note });
  }

  #inputOf({ claim: { spec, status }, owner, volume }: Bound): ModifyInput {
    const conditions = (status?.conditions ?? []).filter(({ type }) => CONDITIONS.has(type));
    return {
      claim: {
        wanted: spec?.volumeAttributesClassName ?? '',
        current: status?.currentVolumeAttributesClassName ?? '',
        state: status?.modifyVolumeStatus?.status,
        target: status?.modifyVolumeStatus?.targetVolumeAttributesClassName ?? '',
        hasCondition: conditions.length > 0,
        error: conditions.find(({ type }) => type === MODIFY_ERROR)?.message,
      },
      ownerClass: owner.spec?.volumeAttributesClassName ?? '',
      volume: {
        className: volume.spec.attributesClassName ?? '',
        parameters: volume.spec.mutableParameters ?? {},
        answer: answerOf(volume),
      },
      findClass: (name) => findAttributesClass(this.#deps.classes, name),
    };
  }
}

/** The agent's result for the parameters that are requested now. */
function answerOf({ metadata, status }: LocalVolume): ModifyVolume['answer'] {
  const said = status?.conditions?.find(({ type }) => type === MODIFIED);
  if (said === undefined || said.observedGeneration !== metadata?.generation) return 'awaited';
  if (said.status === 'True') return 'done';
  return said.status === 'False' ? { reason: said.reason, message: said.message } : 'awaited';
}

/** Returns a merge patch that makes a map equal `wanted`. */
function replacing(
  known: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): Readonly<Record<string, string | null>> | null {
  if (Object.keys(wanted).length === 0) return null;
  const obsolete = Object.keys(known ?? {}).filter((key) => !Object.hasOwn(wanted, key));
  return { ...Object.fromEntries(obsolete.map((key) => [key, null])), ...wanted };
}

/** Worded as external-resizer does, with the CSI code. */
function errorCondition({ kind, message }: Fault): { type: string; reason: string; message: string } {
  return { type: MODIFY_ERROR, reason: kind === 'invalid' ? 'InvalidArgument' : 'Unavailable', message };
}
