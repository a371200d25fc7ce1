import type { LocalVolume } from '../api/local-volume.ts';
import { DRIVER_NAME } from '../core/driver.ts';
import { volumeNameOf } from '../core/provision.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../kube/built-in.ts';
import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/event-recorder.ts';
import type { ChangeHandler, Informer, InformerObserver } from '../kube/informer.ts';
import type { KubeObject } from '../kube/resource.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { TaskGroup } from '../runtime/task-group.ts';
import { type WorkResult, WorkQueue } from '../runtime/work-queue.ts';
import { CapacityPublisher, createCapacityInformer, nodeOf } from './capacity-publisher.ts';
import { CloneSources } from './clone-sources.ts';
import { type Cluster, createCluster, runCluster } from './cluster.ts';
import type { ControllerMetrics } from './metrics.ts';
import { Provisioner } from './provisioner.ts';
import { Releaser } from './releaser.ts';
import { sourceKeyOf } from './views.ts';

export interface ControllerOptions {
  /** Where CSIStorageCapacity objects live. */
  readonly namespace: string;
  /** Volumes in hand at the same time; default 20. */
  readonly workers?: number;
}

export interface ControllerDeps {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly metrics: ControllerMetrics;
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
  const { client, logger, metrics, events, informers, clock } = deps;
  const tasks = new TaskGroup({ logger });
  const stop = (): void => tasks.stop();
  if (signal.aborted) return;
  signal.addEventListener('abort', stop, { once: true });
  const informerDeps = {
    client,
    logger,
    ...(informers === undefined ? {} : { observer: informers }),
    ...(clock === undefined ? {} : { clock }),
  };
  const cluster = createCluster(informerDeps);
  const published = createCapacityInformer(options, informerDeps);
  const sources = new CloneSources({ client, cluster });
  const provisioner = new Provisioner({
    client,
    cluster,
    sources,
    events,
    metrics,
    logger,
    ...(clock === undefined ? {} : { clock }),
  });
  const releaser = new Releaser({ client, cluster, events, metrics, logger });
  const publisher = new CapacityPublisher(options, { client, cluster, published });
  const queue = (
    name: string,
    workers: number,
    work: (key: string, stopping: AbortSignal) => Promise<WorkResult>,
  ): WorkQueue<string> =>
    new WorkQueue({ name, workers, backoff: { baseMs: 250, maxMs: 300_000 } }, work, {
      logger,
      observer: metrics.queue(name),
      ...(clock === undefined ? {} : { clock }),
    });
  const { workers = 20 } = options;
  const queues = {
    provision: queue('provision', workers, (key, stopping) => provisioner.reconcile(key, stopping)),
    release: queue('release', workers, (key, stopping) => releaser.reconcile(key, stopping)),
    protection: queue('protection', 2, (key, stopping) => sources.release(key, stopping)),
    capacity: queue('capacity', 4, (key, stopping) => publisher.reconcile(key, stopping)),
  };
  try {
    tasks.run('events', (stopping) => events.run(stopping));
    tasks.run('informer capacities', (stopping) => published.run(stopping));
    // A decision needs all that it rests on: no queue works before every list is in.
    tasks.run('work', async (stopping) => {
      await runCluster(cluster, tasks, stopping);
      await published.synced({ signal: stopping });
      using _handlers = subscribe(cluster, queues, provisioner);
      using _capacities = published.subscribe(({ previous, current }) => {
        for (const object of [previous, current])
          if (object !== undefined) queues.capacity.add(nodeOf(object));
      });
      logger.info({ claims: cluster.claims.store.size, nodes: cluster.nodes.store.size }, 'controller works');
      deps.onReady?.();
      await Promise.all(Object.values(queues).map((each) => each.run(stopping)));
    });
    await tasks.wait();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

type Queues = Readonly<Record<'provision' | 'release' | 'protection' | 'capacity', WorkQueue<string>>>;

/** Which change is of interest to whom. Handlers add keys and do no more. */
function subscribe(cluster: Cluster, queues: Queues, provisioner: Provisioner): Disposable {
  const { provision, release, protection, capacity } = queues;
  const subscriptions = new DisposableStack();
  const onEach = <T extends KubeObject>(
    informer: Informer<T>,
    handle: (object: T, key: string) => void,
  ): void => {
    const handler: ChangeHandler<T> = ({ key, previous, current }) => {
      if (previous !== undefined) handle(previous, key);
      if (current !== undefined) handle(current, key);
    };
    subscriptions.use(informer.subscribe(handler));
  };
  const addClaim = ({ metadata }: PersistentVolumeClaim): void =>
    provision.add(volumeNameOf(metadata?.uid ?? ''));
  const addOwner = ({ metadata }: PersistentVolume): void => release.add(metadata?.name ?? '');
  const addNode = (name: string): void => {
    capacity.add(name);
    for (const volume of provisioner.waiting) provision.add(volume);
  };
  onEach(cluster.claims, (claim, key) => {
    addClaim(claim);
    for (const clone of cluster.claims.store.byIndex('source', key)) addClaim(clone);
    protection.add(key);
    const source = sourceKeyOf(claim);
    if (source !== undefined) protection.add(source);
  });
  onEach(cluster.volumes, (volume: LocalVolume, key) => {
    provision.add(key);
    capacity.add(volume.spec.nodeName);
    for (const owner of cluster.owners.store.byIndex('handle', volume.status?.volumeHandle ?? ''))
      addOwner(owner);
  });
  onEach(cluster.owners, (owner, key) => {
    const { driver, volumeHandle } = owner.spec?.csi ?? {};
    if (driver !== DRIVER_NAME) return;
    addOwner(owner);
    provision.add(key);
    // One that shared its volume with this one may go now.
    for (const sharer of cluster.owners.store.byIndex('handle', volumeHandle ?? '')) addOwner(sharer);
    const { namespace = '', name = '' } = owner.spec?.claimRef ?? {};
    for (const clone of cluster.claims.store.byIndex('source', `${namespace}/${name}`)) addClaim(clone);
  });
  onEach(cluster.classes, (_class, name) => {
    for (const claim of cluster.claims.store.byIndex('class', name)) addClaim(claim);
    for (const node of cluster.nodes.store.keys()) capacity.add(node);
  });
  onEach(cluster.nodes, (_node, name) => {
    addNode(name);
    for (const { metadata } of cluster.volumes.store.byIndex('node', name))
      provision.add(metadata?.name ?? '');
  });
  onEach(cluster.inventories, (_inventory, name) => addNode(name));
  return subscriptions;
}
