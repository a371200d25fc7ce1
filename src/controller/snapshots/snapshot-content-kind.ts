import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS, type VolumeSnapshotContent } from '../../api/snapshot-kinds.ts';
import { NO_STEP } from '../../core/snapshots/content-plan.ts';
import { CONTENT_FINALIZER, type ContentStatus, nodeSnapshotNameOf } from '../../core/snapshots/snapshot.ts';
import {
  planSnapshotContent,
  type SnapshotContentState,
} from '../../core/snapshots/snapshot-content-plan.ts';
import { findObject, type KubeClient, listAll } from '../../kube/client.ts';
import type { Cluster } from '../context/cluster.ts';
import type { ContentKind, LivePlan, NodeSnapshotOwnership } from './content-reconciler.ts';
import { handlesOf, sharersOf, type SnapshotKinds } from './kinds.ts';
import { isOnKnownNode, isOnLiveNode } from './snapshot-nodes.ts';
import {
  contentView,
  nanoseconds,
  nodeSnapshotIntent,
  nodeSnapshotSource,
  nodeSnapshotView,
} from './views.ts';

export interface SnapshotContentKindDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
}

/** VolumeSnapshotContents, which have one LocalVolume each. */
export class SnapshotContentKind implements ContentKind<VolumeSnapshotContent, ContentStatus> {
  readonly resource = VOLUME_SNAPSHOT_CONTENTS;
  readonly contents: SnapshotKinds['contents'];
  readonly finalizer = CONTENT_FINALIZER;
  readonly reasons = {
    creationFailed: 'SnapshotCreationFailed',
    deletionFailed: 'SnapshotDeleteError',
  } as const;
  readonly ownership: NodeSnapshotOwnership<VolumeSnapshotContent>;
  readonly #deps: SnapshotContentKindDeps;

  constructor(deps: SnapshotContentKindDeps) {
    this.#deps = deps;
    this.contents = deps.kinds.contents;
    this.ownership = {
      isOwned: isNodeSnapshot,
      hasContent: ({ metadata }) =>
        this.contents.store.byIndex('nodeSnapshot', metadata?.name ?? '').length > 0,
      hasLiveContent: async ({ metadata }, signal) => {
        const contents = await listAll(deps.client, VOLUME_SNAPSHOT_CONTENTS, { signal });
        return contents.some(
          ({ spec }) => nodeSnapshotNameOf(spec.volumeSnapshotRef.uid ?? '') === metadata?.name,
        );
      },
      absentNamesOf: (content) =>
        this.#find(content) === undefined
          ? [nodeSnapshotNameOf(content.spec.volumeSnapshotRef.uid ?? '')]
          : [],
      isOf: isNodeSnapshotOf,
    };
  }

  plan(content: VolumeSnapshotContent, isRefused: boolean): ReturnType<typeof planSnapshotContent> {
    const nodeSnapshot = this.#find(content);
    const hasNode = nodeSnapshot === undefined || isOnKnownNode(nodeSnapshot, this.#deps.cluster);
    return planSnapshotContent(this.#stateOf(content, { nodeSnapshot, isRefused, hasNode }));
  }

  async planLive(
    content: VolumeSnapshotContent,
    _names: readonly string[],
    signal: AbortSignal,
  ): Promise<LivePlan<ContentStatus>> {
    const { client } = this.#deps;
    const { name = '', uid } = this.#find(content)?.metadata ?? {};
    const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    if (nodeSnapshot === undefined || nodeSnapshot.metadata?.uid !== uid) {
      return { plan: NO_STEP, nodeSnapshots: [] };
    }
    const hasNode = await isOnLiveNode(nodeSnapshot, client, signal);
    const state = this.#stateOf(content, { nodeSnapshot, isRefused: false, hasNode });
    return { plan: planSnapshotContent(state), nodeSnapshots: [nodeSnapshot] };
  }

  intentsOf(content: VolumeSnapshotContent): readonly LocalVolume[] {
    const { volumeSnapshotRef } = content.spec;
    const source = this.#sourceOf(content);
    if (source === undefined) return [];
    const name = nodeSnapshotNameOf(volumeSnapshotRef.uid ?? '');
    return [nodeSnapshotIntent(name, nodeSnapshotSource(source), volumeSnapshotRef)];
  }

  statusOf({ handle, isReady, createdMs, sizeBytes, error }: ContentStatus): {
    readonly fields: object;
    readonly error: string | undefined;
  } {
    const fields = {
      snapshotHandle: handle,
      readyToUse: isReady,
      creationTime: createdMs === undefined ? undefined : nanoseconds(createdMs),
      restoreSize: sizeBytes === undefined ? undefined : Number(sizeBytes),
    };
    return { fields, error };
  }

  /** The LocalVolume of a content: by handle, else by the name it was created with. */
  #find(content: VolumeSnapshotContent): LocalVolume | undefined {
    const { store } = this.#deps.cluster.volumes;
    const [known] = handlesOf(content)
      .flatMap((handle) => store.byIndex('handle', handle))
      .filter(({ spec }) => spec.type === 'Snapshot');
    if (known !== undefined) return known;
    const named = store.get(nodeSnapshotNameOf(content.spec.volumeSnapshotRef.uid ?? ''));
    return named !== undefined && isNodeSnapshotOf(named, content) ? named : undefined;
  }

  #sourceOf({ spec }: VolumeSnapshotContent): LocalVolume | undefined {
    return this.#deps.cluster.volumes.store
      .byIndex('handle', spec.source.volumeHandle ?? '')
      .find(({ spec: { type } }) => type === 'Volume');
  }

  #stateOf(
    content: VolumeSnapshotContent,
    {
      nodeSnapshot,
      ...rest
    }: { readonly nodeSnapshot: LocalVolume | undefined } & Pick<
      SnapshotContentState,
      'isRefused' | 'hasNode'
    >,
  ): SnapshotContentState {
    const source = this.#sourceOf(content);
    const handle = nodeSnapshot?.status?.volumeHandle;
    const handles = [...handlesOf(content), ...(handle === undefined ? [] : [handle])];
    return {
      ...rest,
      content: contentView(content),
      nodeSnapshot: nodeSnapshot && nodeSnapshotView(nodeSnapshot),
      source: source && nodeSnapshotSource(source),
      sharers: sharersOf(content, handles, this.contents),
    };
  }
}

/**
 * Whether a LocalVolume was created for a VolumeSnapshot. An administrator may have created others
 * by hand.
 */
function isNodeSnapshot({ metadata, spec }: LocalVolume): boolean {
  return (
    spec.type === 'Snapshot' &&
    spec.claim !== undefined &&
    metadata?.name === nodeSnapshotNameOf(spec.claim.uid)
  );
}

/** By its name alone: for a content that is created dynamically, not for a pre-provisioned one. */
function isNodeSnapshotOf(nodeSnapshot: LocalVolume, { spec }: VolumeSnapshotContent): boolean {
  return (
    isNodeSnapshot(nodeSnapshot) &&
    spec.source.volumeHandle !== undefined &&
    nodeSnapshot.spec.claim?.uid === spec.volumeSnapshotRef.uid
  );
}
