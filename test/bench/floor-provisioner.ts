import {
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
} from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { isFault } from '../../src/core/fault.ts';
import { Informer } from '../../src/kube/informer.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { WorkQueue } from '../../src/runtime/work-queue.ts';

/** Name of the provisioner, and of its class. */
export const FLOOR = 'floor.bench.keelson.dev';
const WORKERS = 32;

/**
 * The least that anybody can do: one write a claim, one a deletion, and no volume behind it. What
 * claims take with it is the time of Kubernetes' own volume controller and API server, which no
 * provisioner can go below.
 */
export async function runFloorProvisioner(client: KubeClient, signal: AbortSignal): Promise<void> {
  const deps = { client, logger: silentLogger };
  const claims = new Informer({ resource: PERSISTENT_VOLUME_CLAIMS }, deps);
  const volumes = new Informer({ resource: PERSISTENT_VOLUMES }, deps);
  const made = new Set<string>();
  const provision = new WorkQueue<string>(
    { name: 'floor provision', workers: WORKERS },
    async (key) => {
      const claim = claims.store.get(key);
      const uid = claim?.metadata?.uid ?? '';
      // It does not wait to be asked either: there is nothing else that the claim could have.
      const isOurs = claim?.spec?.storageClassName === FLOOR;
      if (!isOurs || (claim.spec?.volumeName ?? '') !== '' || made.has(uid)) return undefined;
      made.add(uid);
      await client.create(PERSISTENT_VOLUMES, volumeFor(claim));
      return undefined;
    },
    { logger: silentLogger },
  );
  const release = new WorkQueue<string>(
    { name: 'floor release', workers: WORKERS },
    async (name) => {
      const volume = volumes.store.get(name);
      const isOurs = volume?.spec?.storageClassName === FLOOR;
      if (!isOurs || volume?.status?.phase !== 'Released' || volume.metadata?.deletionTimestamp !== undefined)
        return undefined;
      await client.delete(PERSISTENT_VOLUMES, { name }).catch((error: unknown) => {
        if (!isFault(error, 'not-found')) throw error;
      });
      return undefined;
    },
    { logger: silentLogger },
  );
  using _claims = claims.subscribe(({ key, current }) => current !== undefined && provision.add(key));
  using _volumes = volumes.subscribe(({ key, current }) => current !== undefined && release.add(key));
  await Promise.all([claims.run(signal), volumes.run(signal), provision.run(signal), release.run(signal)]);
}

function volumeFor({ metadata, spec }: PersistentVolumeClaim): PersistentVolume {
  const { name = '', namespace = '', uid = '' } = metadata ?? {};
  return {
    metadata: { name: `floor-${uid}`, annotations: { 'pv.kubernetes.io/provisioned-by': FLOOR } },
    spec: {
      capacity: { storage: spec?.resources?.requests?.['storage'] ?? '1Mi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Delete',
      storageClassName: spec?.storageClassName ?? '',
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid },
      csi: { driver: FLOOR, volumeHandle: uid },
    },
  };
}
