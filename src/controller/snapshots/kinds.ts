import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
  type VolumeSnapshot,
  type VolumeSnapshotClass,
  type VolumeSnapshotContent,
} from '../../api/snapshot-kinds.ts';
import { isFault } from '../../core/fault.ts';
import { cutNameOf } from '../../core/snapshot.ts';
import type { KubeClient } from '../../kube/client.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import { type Clock, sleep } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { TaskGroup } from '../../runtime/task-group.ts';
import { runInformers } from '../cluster.ts';
import { isOurs } from './views.ts';

/** The objects of the standard snapshot kinds, of all drivers. Empty as long as the cluster does not serve them. */
export interface SnapshotKinds {
  readonly snapshots: Informer<VolumeSnapshot>;
  readonly contents: Informer<VolumeSnapshotContent>;
  readonly classes: Informer<VolumeSnapshotClass>;
}

/** Kinds that are not there yet are looked for again after this. */
const LOOK_MS = 10_000;

/** Nothing is read before `runSnapshotKinds`. */
export function createSnapshotKinds(deps: InformerDeps): SnapshotKinds {
  return {
    snapshots: new Informer(
      {
        resource: VOLUME_SNAPSHOTS,
        indexers: {
          claim: ({ metadata, spec }) => {
            const claim = spec.source.persistentVolumeClaimName;
            return claim === undefined ? [] : [`${metadata?.namespace ?? ''}/${claim}`];
          },
          content: ({ spec }) => [spec.source.volumeSnapshotContentName ?? []].flat(),
        },
      },
      deps,
    ),
    contents: new Informer(
      {
        resource: VOLUME_SNAPSHOT_CONTENTS,
        indexers: {
          cut: (content) => (isOurs(content) ? [cutNameOf(content.spec.volumeSnapshotRef.uid ?? '')] : []),
          handle: (content) => (isOurs(content) ? handlesOf(content) : []),
          snapshot: ({ spec: { volumeSnapshotRef } }) => [
            `${volumeSnapshotRef.namespace ?? ''}/${volumeSnapshotRef.name ?? ''}`,
          ],
          volume: (content) => (isOurs(content) ? [content.spec.source.volumeHandle ?? []].flat() : []),
        },
      },
      deps,
    ),
    classes: new Informer({ resource: VOLUME_SNAPSHOT_CLASSES }, deps),
  };
}

/** The handles of the snapshot that a content stands for: given, or told by us. */
export function handlesOf({ spec, status }: VolumeSnapshotContent): readonly string[] {
  const handles = [spec.source.snapshotHandle, status?.snapshotHandle];
  return [...new Set(handles.filter((handle) => handle !== undefined && handle !== ''))] as string[];
}

export interface SnapshotKindsDeps {
  readonly client: Pick<KubeClient, 'list'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Waits until the cluster serves all three kinds, follows them in `tasks`, and resolves when they were read once. */
export async function runSnapshotKinds(
  kinds: SnapshotKinds,
  tasks: TaskGroup,
  { client, logger, clock }: SnapshotKindsDeps,
  signal: AbortSignal,
): Promise<void> {
  const resources: readonly Resource<KubeObject>[] = [
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
  ];
  let isTold = false;
  for (const resource of resources) {
    while (!(await isServed(resource, client, signal))) {
      if (!isTold) {
        logger.info({ missing: resource.plural }, 'no snapshots: the cluster does not serve their kinds');
      }
      isTold = true;
      await sleep(LOOK_MS, { signal, clock });
    }
  }
  await runInformers({ ...kinds }, tasks, signal);
}

async function isServed(
  resource: Resource<KubeObject>,
  client: Pick<KubeClient, 'list'>,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await client.list(resource, { limit: 1, signal });
    return true;
  } catch (error) {
    // Whatever else is wrong, informers say it and try again.
    return !isFault(error, 'not-found');
  }
}
