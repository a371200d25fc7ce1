import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/event-recorder.ts';
import type { InformerObserver } from '../kube/informer.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { TaskGroup } from '../runtime/task-group.ts';
import { WorkQueue } from '../runtime/work-queue.ts';
import { Calm } from '../runtime/quiet-period.ts';
import { publishingCapacity } from './nodes/capacity-publisher.ts';
import { createAttributesClasses } from './claims/attributes-classes.ts';
import { allSources } from './claims/claim-sources.ts';
import { CloneSources, releasingSources } from './claims/clone-sources.ts';
import { createCluster, runInformers } from './context/cluster.ts';
import type { Concern, ConcernContext } from './context/controller-context.ts';
import { keepingInventories } from './nodes/node-inventory-reconciler.ts';
import { labellingNodes } from './labels/labelling.ts';
import type { RuleEvaluator } from './labels/rule-evaluator.ts';
import type { ControllerMetrics } from './context/metrics.ts';
import { modifying } from './claims/modifier.ts';
import { reportingNetworkPools } from './reports/network-pool-reporter.ts';
import { reportingPolicies } from './reports/policy-reporter.ts';
import { provisioning } from './claims/provisioning.ts';
import { releasing } from './volumes/reclaimer.ts';
import { resizing } from './claims/resizer.ts';
import { reportingStoragePools } from './reports/storage-pool-reporter.ts';
import { watchingAgents } from './nodes/agent-health.ts';
import { watchingStranded } from './volumes/lost-node-volumes.ts';
import { UnmarkedVolumes } from './context/unreferenced-volumes.ts';
import { createSnapshotKinds } from './snapshots/kinds.ts';
import { RestoreSources } from './snapshots/restore-sources.ts';
import { type SnapshotMode, snapshotting } from './snapshots/snapshotting.ts';

export interface ControllerOptions {
  /** Where CSIStorageCapacity objects live. */
  readonly namespace: string;
  /** Volumes in hand at the same time; default 20. */
  readonly workers?: number;
  /** Whether nodes get the labels that need no rule; default true. */
  readonly defaultLabels?: boolean;
  /** Default `auto`. */
  readonly snapshots?: SnapshotMode;
}

export interface ControllerDeps {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly metrics: ControllerMetrics;
  /** Evaluates the rules for labels. */
  readonly evaluator: RuleEvaluator;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly informers?: InformerObserver;
  /** Called when everything was read once and the work begins. */
  readonly onReady?: () => void;
}

/**
 * Makes claims volumes until the signal aborts, and lets the steps in hand end. At most one may run in a cluster; several do no harm, for
 * every write that matters is checked by the server.
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
  const concerns = createConcerns(options, deps, context);
  try {
    tasks.run('events', (stopping) => events.run(stopping));
    // A decision needs all that it rests on: no queue works before every list is in.
    tasks.run('work', async (stopping) => {
      const others = concerns.map(({ informers = {} }) => informers);
      await Promise.all(
        [{ ...cluster }, ...others].map((informers) => runInformers(informers, tasks, stopping)),
      );
      using subscribed = new DisposableStack();
      for (const concern of concerns) subscribed.use(concern.subscribe());
      logger.info({ claims: cluster.claims.store.size, nodes: cluster.nodes.store.size }, 'controller works');
      deps.onReady?.();
      await Promise.all(concerns.map(({ queue }) => queue.run(stopping)));
    });
    await tasks.wait();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** All that the controller takes care of. */
function createConcerns(
  { namespace, workers = 20, snapshots = 'auto', defaultLabels = true }: ControllerOptions,
  { evaluator }: Pick<ControllerDeps, 'evaluator'>,
  context: ConcernContext,
): readonly Concern[] {
  const sources = new CloneSources(context);
  const kinds = createSnapshotKinds(context.informerDeps);
  const attributesClasses = createAttributesClasses(context.informerDeps);
  const restores = new RestoreSources({ ...context, kinds });
  return [
    provisioning(context, { workers, sources: allSources(sources, restores), attributesClasses, kinds }),
    releasing(context, { workers }),
    resizing(context),
    modifying(context, attributesClasses),
    watchingStranded(context),
    keepingInventories(context),
    watchingAgents(context, { namespace }),
    releasingSources(context, sources),
    publishingCapacity(context, { namespace }),
    reportingPolicies(context),
    reportingNetworkPools(context),
    reportingStoragePools(context),
    labellingNodes(context, { defaultLabels, evaluator }),
    snapshotting(context, { mode: snapshots, kinds }),
  ];
}

function createContext(deps: ControllerDeps): ConcernContext {
  const { client, logger, metrics, events, informers, clock = systemClock } = deps;
  const informerDeps = { client, logger, clock, ...(informers === undefined ? {} : { observer: informers }) };
  return {
    ...{ client, logger, metrics, events, clock, informerDeps },
    cluster: createCluster(informerDeps),
    calm: new Calm({}, { clock }),
    unmarked: new UnmarkedVolumes(),
    queue: (name, workers, work) =>
      new WorkQueue({ name, workers, backoff: { baseMs: 250, maxMs: 300_000 } }, work, {
        logger,
        observer: metrics.queue(name),
        clock,
      }),
  };
}
