import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
  type VolumeSnapshot,
  type VolumeSnapshotClass,
  type VolumeSnapshotContent,
} from '../../api/snapshot-kinds.ts';
import { nodeSnapshotNameOf } from '../../core/snapshots/snapshot.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import type { TaskGroup } from '../../runtime/task-group.ts';
import { runInformers } from '../context/cluster.ts';
import { type ServedKindsDeps, untilServed } from '../context/served-kinds.ts';
import { groupUidsOf, isOurs } from './views.ts';

/** The snapshot objects of all drivers. Empty while the cluster does not serve the kinds. */
export interface SnapshotKinds {
  readonly snapshots: Informer<VolumeSnapshot>;
  readonly contents: Informer<VolumeSnapshotContent>;
  readonly classes: Informer<VolumeSnapshotClass>;
}

/** Creates the informers; nothing is listed before `runSnapshotKinds`. */
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
          content: ({ spec, status }) =>
            [spec.source.volumeSnapshotContentName ?? status?.boundVolumeSnapshotContentName ?? []].flat(),
          group: ({ metadata }) => [...groupUidsOf(metadata)],
        },
      },
      deps,
    ),
    contents: new Informer(
      {
        resource: VOLUME_SNAPSHOT_CONTENTS,
        indexers: {
          nodeSnapshot: (content) =>
            isOurs(content) ? [nodeSnapshotNameOf(content.spec.volumeSnapshotRef.uid ?? '')] : [],
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

/** The snapshot handles of a content: pre-provisioned, or published by Keelson. */
export function handlesOf({ spec, status }: VolumeSnapshotContent): readonly string[] {
  const handles = [spec.source.snapshotHandle, status?.snapshotHandle];
  return [...new Set(handles.filter((handle) => handle !== undefined && handle !== ''))] as string[];
}

/** Names of the other contents that share a handle with `content`, once for each handle. */
export function sharersOf<T extends KubeObject>(
  content: T,
  handles: readonly string[],
  { store }: Pick<Informer<T>, 'store'>,
): readonly string[] {
  return handles
    .flatMap((handle) => store.byIndex('handle', handle))
    .filter(({ metadata }) => metadata?.uid !== content.metadata?.uid)
    .map(({ metadata }) => metadata?.name ?? '');
}

/**
 * Waits until the cluster serves all three kinds, runs their informers in `tasks`, and resolves
 * when they have synced.
 */
export async function runSnapshotKinds(
  kinds: SnapshotKinds,
  tasks: TaskGroup,
  deps: ServedKindsDeps,
  signal: AbortSignal,
): Promise<void> {
  const resources: readonly Resource<KubeObject>[] = [
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
  ];
  await untilServed(resources, 'snapshots', deps, signal);
  await runInformers({ ...kinds }, tasks, signal);
}
