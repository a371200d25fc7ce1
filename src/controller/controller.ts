import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/event-recorder.ts';
import type { InformerObserver } from '../kube/informer.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { TaskGroup } from '../runtime/task-group.ts';
import { WorkQueue } from '../runtime/work-queue.ts';
import { QuietPeriod } from '../runtime/quiet-period.ts';
import { createCapacityPublisher } from './nodes/capacity-publisher.ts';
import { createAttributesClasses } from './claims/attributes-classes.ts';
import { allSources } from './claims/claim-sources.ts';
import { CloneSources, createCloneSourceReconciler } from './claims/clone-sources.ts';
import { createCluster, runInformers } from './context/cluster.ts';
import type { Reconciler, ControllerContext } from './context/controller-context.ts';
import { createNodeInventoryReconciler } from './nodes/node-inventory-reconciler.ts';
import { createNodeLabeller } from './labels/labelling.ts';
import type { RuleEvaluator } from './labels/rule-evaluator.ts';
import type { ControllerMetrics } from './context/metrics.ts';
import { createModifier } from './claims/modifier.ts';
import { createNetworkPoolReporter } from './reports/network-pool-reporter.ts';
import { createPolicyReporter } from './reports/policy-reporter.ts';
import { createProvisioner } from './claims/provisioning.ts';
import { createReclaimer } from './volumes/reclaimer.ts';
import { createResizer } from './claims/resizer.ts';
import { createStoragePoolReporter } from './reports/storage-pool-reporter.ts';
import { createAgentHealth } from './nodes/agent-health.ts';
import { createLostNodeVolumes } from './volumes/lost-node-volumes.ts';
import { UnannotatedVolumes } from './context/unannotated-volumes.ts';
import { createSnapshotKinds } from './snapshots/kinds.ts';
import { RestoreSources } from './snapshots/restore-sources.ts';
import { type SnapshotMode, createSnapshotReconcilers } from './snapshots/snapshot-reconcilers.ts';

export interface ControllerOptions {
  /** Namespace of the CSIStorageCapacity objects. */
  readonly namespace: string;
  /** Volumes reconciled concurrently; default 20. */
  readonly workers?: number;
  /** Whether nodes get the default labels; default true. */
  readonly defaultLabels?: boolean;
  /** Default `auto`. */
  readonly snapshots?: SnapshotMode;
}

export interface ControllerDeps {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly metrics: ControllerMetrics;
  /** Evaluates NodeLabelRules. */
  readonly evaluator: RuleEvaluator;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly informers?: InformerObserver;
  /** Called when all informers have synced and the queues start. */
  readonly onReady?: () => void;
}

/**
 * Runs all reconcilers until the signal aborts, then finishes the steps in progress. A second
 * instance does no harm: every write that matters has a precondition.
 */
export async function runController(
  options: ControllerOptions,
  deps: ControllerDeps,
  signal: AbortSignal,
): Promise<void> {
  const { logger, events } = deps;
  const tasks = new TaskGroup({ logger });
  const stop = (): void => tasks.stop();
  if (signal.aborted) return;
  signal.addEventListener('abort', stop, { once: true });
  const context = createContext(deps);
  const { cluster } = context;
  const reconcilers = createReconcilers(options, deps, context);
  try {
    tasks.run('events', (stopping) => events.run(stopping));
    // No queue starts before every informer has synced: a decision on a partial list would be
    // wrong.
    tasks.run('work', async (stopping) => {
      const others = reconcilers.map(({ informers = {} }) => informers);
      await Promise.all(
        [{ ...cluster }, ...others].map((informers) => runInformers(informers, tasks, stopping)),
      );
      using subscribed = new DisposableStack();
      for (const reconciler of reconcilers) subscribed.use(reconciler.subscribe());
      logger.info(
        { claims: cluster.claims.store.size, nodes: cluster.nodes.store.size },
        'controller started',
      );
      deps.onReady?.();
      await Promise.all(reconcilers.map(({ queue }) => queue.run(stopping)));
    });
    await tasks.wait();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** All reconcilers of the controller. */
function createReconcilers(
  { namespace, workers = 20, snapshots = 'auto', defaultLabels = true }: ControllerOptions,
  { evaluator }: Pick<ControllerDeps, 'evaluator'>,
  context: ControllerContext,
): readonly Reconciler[] {
  const sources = new CloneSources(context);
  const kinds = createSnapshotKinds(context.informerDeps);
  const attributesClasses = createAttributesClasses(context.informerDeps);
  const restores = new RestoreSources({ ...context, kinds });
  return [
    createProvisioner(context, { workers, sources: allSources(sources, restores), attributesClasses, kinds }),
    createReclaimer(context, { workers }),
    createResizer(context),
    createModifier(context, attributesClasses),
    createLostNodeVolumes(context),
    createNodeInventoryReconciler(context),
    createAgentHealth(context, { namespace }),
    createCloneSourceReconciler(context, sources),
    createCapacityPublisher(context, { namespace }),
    createPolicyReporter(context),
    createNetworkPoolReporter(context),
    createStoragePoolReporter(context),
    createNodeLabeller(context, { defaultLabels, evaluator }),
    createSnapshotReconcilers(context, { mode: snapshots, kinds }),
  ];
}

function createContext(deps: ControllerDeps): ControllerContext {
  const { client, logger, metrics, events, informers, clock = systemClock } = deps;
  const informerDeps = { client, logger, clock, ...(informers === undefined ? {} : { observer: informers }) };
  return {
    ...{ client, logger, metrics, events, clock, informerDeps },
    cluster: createCluster(informerDeps),
    quietPeriod: new QuietPeriod({}, { clock }),
    unannotated: new UnannotatedVolumes(),
    queue: (name, workers, work) =>
      new WorkQueue({ name, workers, backoff: { baseMs: 250, maxMs: 300_000 } }, work, {
        logger,
        observer: metrics.queue(name),
        clock,
      }),
  };
}
