import type { KubeClient } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { Informer, InformerDeps } from '../../kube/informer.ts';
import type { KubeObject } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import { TaskGroup } from '../../runtime/task-group.ts';
import type { WorkQueue, WorkResult } from '../../runtime/work-queue.ts';
import type { QuietPeriod } from '../../runtime/quiet-period.ts';
import type { Cluster, Runnable } from './cluster.ts';
import type { ControllerMetrics } from './metrics.ts';
import type { UnannotatedVolumes } from './unannotated-volumes.ts';

/** A work queue and the watches that feed it. */
export interface Reconciler {
  readonly queue: Pick<WorkQueue<string>, 'run'>;
  /** Informers beside the Cluster; run and synced together with it. */
  readonly informers?: Readonly<Record<string, Runnable>>;
  /** Adds the keys of existing objects and of every change from now on. Handlers only add keys. */
  subscribe(): Disposable;
}

/** What every reconciler is built from. */
export interface ControllerContext {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly metrics: ControllerMetrics;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly quietPeriod: QuietPeriod;
  readonly unannotated: UnannotatedVolumes;
  /** For informers of the reconciler's own. */
  readonly informerDeps: InformerDeps;
  /** Creates a work queue with the common back-off and metrics. */
  queue(
    name: string,
    workers: number,
    work: (key: string, signal: AbortSignal) => Promise<WorkResult>,
  ): WorkQueue<string>;
}

/**
 * Calls `handle` for the object before and after each change, so that keys derived from removed
 * fields are handled too.
 */
export function onEach<T extends KubeObject>(
  informer: Pick<Informer<T>, 'subscribe'>,
  handle: (object: T, key: string) => void,
): Disposable {
  return informer.subscribe(({ key, previous, current }) => {
    if (previous !== undefined) handle(previous, key);
    if (current !== undefined) handle(current, key);
  });
}

/** Calls `handle` when a node appears or disappears, and when its labels change. */
export function onNodeLabels({ nodes }: Pick<Cluster, 'nodes'>, handle: () => void): Disposable {
  return nodes.subscribe(({ previous, current }) => {
    const labels = [previous, current].map((node) => JSON.stringify(node?.metadata?.labels));
    if (previous === undefined || current === undefined || labels[0] !== labels[1]) handle();
  });
}

/**
 * Returns a reconciler that watches kinds the cluster may not serve yet. It subscribes within its
 * tasks, since keys would pile up in a queue that does not run.
 */
export function reconcilerOfTasks(context: ControllerContext, start: (tasks: TaskGroup) => void): Reconciler {
  return {
    queue: {
      async run(stopping) {
        if (stopping.aborted) return;
        const tasks = new TaskGroup(context);
        stopping.addEventListener('abort', () => tasks.stop(), { once: true });
        start(tasks);
        await tasks.wait();
      },
    },
    subscribe: () => subscriptions(),
  };
}

/** Combines several subscriptions. */
export function subscriptions(...all: readonly Disposable[]): Disposable {
  const stack = new DisposableStack();
  for (const each of all) stack.use(each);
  return stack;
}
