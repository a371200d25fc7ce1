import { VOLUME_GROUP_SNAPSHOT_CONTENTS } from '../../src/api/group-snapshot-kinds.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS } from '../../src/api/snapshot-kinds.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import { isFault } from '../../src/core/fault.ts';
import type { VolumeReferences } from '../../src/core/volumes/orphans.ts';
import { PERSISTENT_VOLUMES } from '../../src/kube/built-in.ts';
import { type KubeClient, listAll } from '../../src/kube/client.ts';
import type { KubeObject, Resource } from '../../src/kube/resource.ts';

/** Returns the references of these LocalVolumes. */
export function referencesOf(objects: Iterable<LocalVolume>): VolumeReferences {
  const names = new Set<string>();
  const handles = new Set<string>();
  for (const { metadata, status } of objects) {
    names.add(metadata?.name ?? '');
    for (const handle of [status?.volumeHandle, status?.groupHandle]) {
      if (handle !== undefined) handles.add(handle);
    }
  }
  return { names, handles };
}

/**
 * Reads from the API server what refers to volumes of this node: LocalVolumes, and objects that
 * users and other controllers create, which are PersistentVolumes and snapshot contents for any
 * node. Rejects when one of them cannot be read; snapshot kinds that the cluster does not serve
 * have no references.
 */
export async function readVolumeReferences(
  nodeName: string,
  { client, signal }: { readonly client: Pick<KubeClient, 'list'>; readonly signal: AbortSignal },
): Promise<VolumeReferences> {
  const objects = await listAll(client, LOCAL_VOLUMES, {
    fieldSelector: `spec.nodeName=${nodeName}`,
    signal,
  });
  const { names, handles } = referencesOf(objects);
  const volumes = (await listAll(client, PERSISTENT_VOLUMES, { signal }))
    .map(({ spec }) => spec?.csi)
    .filter((csi) => csi?.driver === DRIVER_NAME)
    .map((csi) => csi?.volumeHandle);
  const snapshots = (await listServed(VOLUME_SNAPSHOT_CONTENTS)).flatMap(({ spec, status }) =>
    spec.driver === DRIVER_NAME ? [spec.source.snapshotHandle, status?.snapshotHandle] : [],
  );
  const groups = (await listServed(VOLUME_GROUP_SNAPSHOT_CONTENTS)).flatMap(({ spec, status }) =>
    spec.driver === DRIVER_NAME
      ? [spec.source.groupSnapshotHandles?.volumeGroupSnapshotHandle, status?.volumeGroupSnapshotHandle]
      : [],
  );
  const all = [...handles, ...volumes, ...snapshots, ...groups].filter((handle) => handle !== undefined);
  return { names, handles: new Set(all) };

  async function listServed<T extends KubeObject>(resource: Resource<T>): Promise<readonly T[]> {
    try {
      return await listAll(client, resource, { signal });
    } catch (error) {
      if (isFault(error, 'not-found')) return [];
      throw error;
    }
  }
}
