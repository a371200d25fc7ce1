import {
  VOLUME_SNAPSHOTS,
  type VolumeSnapshot,
  type VolumeSnapshotContent,
} from '../../api/snapshot-kinds.ts';
import { isSnapshotSource } from '../../core/claims/claim-check.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { Fault } from '../../core/fault.ts';
import { type ClaimView, describeClaim, type SourceView } from '../../core/claims/provision.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import { MODE_CHANGE } from '../../core/snapshots/snapshot.ts';
import { misbound } from '../../core/snapshots/snapshot-plan.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import { nameOfKey } from '../../kube/resource.ts';
import type { Cluster } from '../context/cluster.ts';
import { snapshotKeyOf } from '../context/views.ts';
import { handlesOf, type SnapshotKinds } from './kinds.ts';
import { contentView, snapshotView } from './views.ts';

export interface RestoreSourcesDeps {
  readonly client: Pick<KubeClient, 'get'>;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
}

/** Snapshots that claims are restored from. */
export class RestoreSources {
  readonly #deps: RestoreSourcesDeps;

  constructor(deps: RestoreSourcesDeps) {
    this.#deps = deps;
  }

  /**
   * Returns the source of the claim; a Fault when it cannot be used now, undefined when the claim
   * does not restore a snapshot.
   */
  find(claim: ClaimView): SourceView | Fault | undefined {
    if (!isSnapshotSource(claim)) return undefined;
    const { kinds, cluster } = this.#deps;
    const { name = '' } = claim.dataSource ?? {};
    const fault = (what: string): Fault =>
      new Fault('precondition', `${describeClaim(claim)} starts from snapshot ${name}, which ${what}`);
    if (!kinds.snapshots.hasSynced || !kinds.contents.hasSynced) {
      return new Fault(
        'precondition',
        `${describeClaim(claim)} starts from snapshot ${name}, but the cluster does not serve VolumeSnapshots; install their CustomResourceDefinitions`,
      );
    }
    const snapshot = kinds.snapshots.store.get(`${claim.namespace}/${name}`);
    if (snapshot === undefined) return fault('does not exist in its namespace');
    if (snapshot.metadata?.deletionTimestamp !== undefined) return fault('is being deleted');
    const contentName = snapshot.status?.boundVolumeSnapshotContentName;
    const content = kinds.contents.store.get(contentName ?? '');
    const found = readBound(snapshot, content);
    if (typeof found === 'string') return fault(found);
    const mode = found.spec.sourceVolumeMode ?? claim.volumeMode;
    if (mode !== claim.volumeMode && found.metadata?.annotations?.[MODE_CHANGE] !== 'true') {
      return fault(`is of a volume with volumeMode ${mode}`);
    }
    const [nodeSnapshot] = handlesOf(found)
      .flatMap((handle) => cluster.volumes.store.byIndex('handle', handle))
      .filter(({ spec, metadata }) => spec.type === 'Snapshot' && metadata?.deletionTimestamp === undefined);
    if (nodeSnapshot === undefined) return fault('no longer exists on any node');
    return {
      content: { snapshotName: nodeSnapshot.metadata?.name ?? '' },
      nodeName: nodeSnapshot.spec.nodeName,
      poolName: nodeSnapshot.spec.poolName,
      sizeBytes: parseQuantity(nodeSnapshot.status?.capacity ?? nodeSnapshot.spec.size, 'LocalVolume size'),
    };
  }

  /**
   * Re-reads the snapshot from the API server: nothing is restored from one that is being deleted.
   * From then on the new volume delays its deletion.
   */
  async protect(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    const key = snapshotKeyOf(claim);
    if (key === undefined) return;
    const { client, kinds } = this.#deps;
    const live = await findObject(client, VOLUME_SNAPSHOTS, nameOfKey(key), { signal });
    if (live !== undefined && live.metadata?.deletionTimestamp === undefined) return;
    if (live !== undefined) kinds.snapshots.remember(live);
    throw new Fault('busy', `snapshot ${key} is being deleted`);
  }
}

/**
 * Returns the content of a bound snapshot, or why it cannot be used. Both must refer to each other,
 * or a claim could read data that it does not own.
 */
function readBound(
  snapshot: VolumeSnapshot,
  content: VolumeSnapshotContent | undefined,
): VolumeSnapshotContent | string {
  const { error, readyToUse } = snapshot.status ?? {};
  const because = error?.message === undefined ? '' : `: ${error.message}`;
  if (content === undefined) return `is not created yet${because}`;
  if (content.spec.driver !== DRIVER_NAME) return `is of driver ${content.spec.driver}`;
  const why = misbound(snapshotView(snapshot), contentView(content));
  if (why !== undefined || contentView(content).snapshot.uid === '') {
    return `is not bound${why === undefined ? '' : `: ${why}`}`;
  }
  if (readyToUse !== true || content.status?.readyToUse !== true) return `is not ready yet${because}`;
  return content;
}
