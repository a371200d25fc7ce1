import {
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
} from '../../src/api/group-snapshot-kinds.ts';
import { DATA_FINALIZER, LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
} from '../../src/api/snapshot-kinds.ts';
import { createCluster } from '../../src/controller/context/cluster.ts';
import { SnapshotBinding } from '../../src/controller/snapshots/snapshot-binding.ts';
import { ContentReconciler } from '../../src/controller/snapshots/content-reconciler.ts';
import { SnapshotContentKind } from '../../src/controller/snapshots/snapshot-content-kind.ts';
import { GroupSnapshotBinding } from '../../src/controller/snapshots/group-snapshot-binding.ts';
import { GroupContentKind } from '../../src/controller/snapshots/group-content-kind.ts';
import { createGroupKinds } from '../../src/controller/snapshots/group-kinds.ts';
import { createSnapshotKinds } from '../../src/controller/snapshots/kinds.ts';
import { SourceClaims } from '../../src/controller/snapshots/source-claims.ts';
import { isFault } from '../../src/core/fault.ts';
import {
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  STORAGE_CLASSES,
} from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Informer } from '../../src/kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../src/kube/resource.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from './fake-api-client.ts';

type Followed = Pick<Informer<KubeObject>, 'run' | 'synced' | 'store'>;

/**
 * An API server, and controllers of snapshots and group snapshots that live on it one after the
 * other, each with a memory of its own.
 */
export class SnapshotLives implements Disposable {
  readonly server = new FakeApiClient();
  readonly #end = new AbortController();

  [Symbol.dispose](): void {
    this.#end.abort();
  }

  /**
   * A volume of node `nodeName` that a claim of namespace team is bound to: claim `data-N`, volume
   * `pvc-N`, handle `vol-N`.
   */
  async addVolume(number: number, nodeName: string, labels: Readonly<Record<string, string>>): Promise<void> {
    const { server } = this;
    const name = { namespace: 'team', name: `data-${number}` };
    const claim = await server.create(PERSISTENT_VOLUME_CLAIMS, {
      metadata: { ...name, labels },
      spec: { volumeName: `pvc-${number}`, storageClassName: 'local' },
    });
    const status = { phase: 'Bound' };
    await server.patch(PERSISTENT_VOLUME_CLAIMS, name, { merge: { status } }, { subresource: 'status' });
    await server.create(PERSISTENT_VOLUMES, {
      metadata: { name: `pvc-${number}` },
      spec: {
        claimRef: { ...name, uid: claim.metadata?.uid ?? '' },
        csi: { driver: 'keelson.dev', volumeHandle: `vol-${number}` },
      },
    });
    await server.create(LOCAL_VOLUMES, {
      metadata: { name: `pvc-${number}` },
      spec: { nodeName, poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
      status: { phase: 'Ready', volumeHandle: `vol-${number}`, capacity: '1Gi' },
    });
  }

  /** LocalVolumes of type Snapshot, for any owner. */
  async nodeSnapshots(): Promise<readonly LocalVolume[]> {
    return (await this.server.list(LOCAL_VOLUMES)).items.filter(({ spec }) => spec.type === 'Snapshot');
  }

  async finalizersOfClaims(): Promise<readonly string[]> {
    return (await this.server.list(PERSISTENT_VOLUME_CLAIMS)).items.flatMap(
      ({ metadata }) => metadata?.finalizers ?? [],
    );
  }

  /**
   * Until nothing changes any more; another controller goes on where one was killed. Tells how many
   * were. `meanwhile` comes after each death.
   */
  async settle(client: KubeClient = this.server, meanwhile?: () => Promise<void>): Promise<number> {
    let round = this.#start(client);
    for (let deaths = 0; ; ) {
      const before = this.server.store.version;
      try {
        await round();
      } catch {
        deaths += 1;
        round = this.#start(this.server);
        await meanwhile?.();
        continue;
      }
      await this.#actAsAgent();
      if (this.server.store.version === before) return deaths;
    }
  }

  /** As many rounds of one controller, without any agent. */
  async takeRounds(count: number): Promise<void> {
    const round = this.#start(this.server);
    for (let turn = 0; turn < count; turn += 1) await round();
  }

  /** A controller of its own memory; what is returned looks at everything once. */
  #start(client: KubeClient): () => Promise<void> {
    const { signal } = this.#end;
    const cluster = createCluster({ client, logger: silentLogger });
    const kinds = createSnapshotKinds({ client, logger: silentLogger });
    const groupKinds = createGroupKinds({ client, logger: silentLogger });
    const informers: readonly (readonly [Resource<KubeObject>, Followed])[] = [
      [PERSISTENT_VOLUME_CLAIMS, cluster.claims],
      [STORAGE_CLASSES, cluster.classes],
      [LOCAL_VOLUMES, cluster.volumes],
      [PERSISTENT_VOLUMES, cluster.owners],
      [NODES, cluster.nodes],
      [VOLUME_SNAPSHOTS, kinds.snapshots],
      [VOLUME_SNAPSHOT_CONTENTS, kinds.contents],
      [VOLUME_SNAPSHOT_CLASSES, kinds.classes],
      [VOLUME_GROUP_SNAPSHOTS, groupKinds.groups],
      [VOLUME_GROUP_SNAPSHOT_CONTENTS, groupKinds.groupContents],
      [VOLUME_GROUP_SNAPSHOT_CLASSES, groupKinds.groupClasses],
    ];
    for (const [, informer] of informers) void informer.run(signal);
    const events = { record: () => undefined };
    const deps = { client, cluster, kinds, groupKinds, events, logger: silentLogger, clock: systemClock };
    const claims = new SourceClaims(deps);
    const binder = new SnapshotBinding({ ...deps, claims });
    const contentReconciler = new ContentReconciler(new SnapshotContentKind(deps), deps);
    const groupBinder = new GroupSnapshotBinding({ ...deps, claims });
    const groupContentReconciler = new ContentReconciler(new GroupContentKind(deps), deps);
    return async () => {
      for (const [resource, informer] of informers) await this.#catchUp(resource, informer);
      for (const key of [...groupKinds.groups.store.keys()]) await step(groupBinder.reconcile(key, signal));
      for (const name of [...groupKinds.groupContents.store.keys()]) {
        await step(groupBinder.reconcileContent(name, signal));
        await step(groupContentReconciler.reconcile(name, signal));
      }
      for (const key of [...kinds.snapshots.store.keys()]) await step(binder.reconcile(key, signal));
      for (const name of [...kinds.contents.store.keys()]) {
        await step(binder.reconcileContent(name, signal));
        await step(contentReconciler.reconcile(name, signal));
      }
      for (const name of [...cluster.volumes.store.keys()]) {
        await step(contentReconciler.reconcileNodeSnapshot(name, signal));
        await step(groupContentReconciler.reconcileNodeSnapshot(name, signal));
      }
      for (const key of [...cluster.claims.store.keys()]) await step(claims.release(key, signal));
    };
  }

  async #catchUp(resource: Resource<KubeObject>, informer: Followed): Promise<void> {
    await informer.synced();
    while (versions(informer.store.values()) !== versions((await this.server.list(resource)).items)) {
      await new Promise(setImmediate);
    }
  }

  /**
   * What agents do with snapshots: take each, and remove its data when it, or all of its group, is
   * to go.
   */
  async #actAsAgent(): Promise<void> {
    const { server } = this;
    const all = await this.nodeSnapshots();
    for (const { metadata, status, spec } of all) {
      const { name = '', finalizers = [], deletionTimestamp, uid = '' } = metadata ?? {};
      const group = spec.group?.name;
      const others = all.filter((other) => group !== undefined && other.spec.group?.name === group);
      if (deletionTimestamp !== undefined) {
        if (others.some((other) => other.metadata?.deletionTimestamp === undefined)) continue;
        await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [] } } });
      } else if (finalizers.length === 0) {
        await server.patch(
          LOCAL_VOLUMES,
          { name },
          { merge: { metadata: { finalizers: [DATA_FINALIZER] } } },
        );
      } else if (status === undefined) {
        const creationTime = '2026-01-01T00:00:00Z';
        const groupHandle = group === undefined ? {} : { groupHandle: 'group-1' };
        const made = {
          phase: 'Ready',
          volumeHandle: `snap-${uid}`,
          ...groupHandle,
          capacity: '1Gi',
          creationTime,
        };
        await server.patch(LOCAL_VOLUMES, { name }, { merge: { status: made } }, { subresource: 'status' });
      }
    }
  }
}

/**
 * A step that fails is taken again in the next round; one in which the controller was killed is its
 * last.
 */
async function step(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (isFault(error, 'bug')) throw error;
  }
}

function versions(objects: Iterable<KubeObject>): string {
  return [...objects]
    .map((each) => `${keyOf(each)} ${each.metadata?.resourceVersion ?? ''}`)
    .sort()
    .join();
}
