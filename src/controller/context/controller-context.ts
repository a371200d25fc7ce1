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

/** One thing that the controller takes care of: what it works on, and which changes are of interest to it. */
export interface Reconciler {
  readonly queue: Pick<WorkQueue<string>, 'run'>;
  /** What it reads besides the Cluster; followed and synced like that. */
  readonly informers?: Readonly<Record<string, Runnable>>;
  /** Adds keys for each change from now on, and for what is there. Handlers add keys and do no more. */
  subscribe(): Disposable;
}

/** What every concern is built from. */
export interface ControllerContext {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly metrics: ControllerMetrics;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly quietPeriod: QuietPeriod;
  readonly unannotated: UnannotatedVolumes;
  /** For informers of its own. */
  readonly informerDeps: InformerDeps;
  /** A queue with the usual backoff and metrics. */
  queue(
    name: string,
    workers: number,
    work: (key: string, signal: AbortSignal) => Promise<WorkResult>,
  ): WorkQueue<string>;
}

/** Calls `handle` for the state before and the state after each change, so that keys that an object no longer has are seen to as well. */
export function onEach<T extends KubeObject>(
  informer: Pick<Informer<T>, 'subscribe'>,
  handle: (object: T, key: string) => void,
): Disposable {
  return informer.subscribe(({ key, previous, current }) => {
    if (previous !== undefined) handle(previous, key);
    if (current !== undefined) handle(current, key);
  });
}

/** A concern that follows kinds of its own, once the cluster serves them: it subscribes in its tasks, since keys that nobody works on would pile up. */
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

/** Several subscriptions as one. */
export function subscriptions(...all: readonly Disposable[]): Disposable {
  const stack = new DisposableStack();
  for (const each of all) stack.use(each);
  return stack;
}
