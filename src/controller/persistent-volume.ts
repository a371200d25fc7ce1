import type { LocalVolume } from '../api/local-volume.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../core/driver.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/built-in.ts';

/** The name that tools and backups know from the usual provisioner; ours stands in for that one. */
export const FINALIZER = 'external-provisioner.volume.kubernetes.io/finalizer';
const PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by';

/** The PersistentVolume of a Ready LocalVolume: bound to that one claim by its UID, and usable on that one node. */
export function persistentVolumeOf(
  volume: LocalVolume,
  claim: PersistentVolumeClaim,
  storageClass: StorageClass,
): PersistentVolume {
  const { spec, status } = volume;
  const { name = '', namespace = '', uid = '' } = claim.metadata ?? {};
  const { mountOptions } = storageClass;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: volume.metadata?.name ?? '',
      annotations: { [PROVISIONED_BY]: DRIVER_NAME },
      // Also with policy Retain, until the LocalVolume is marked as published: nobody can delete the one before the other knows its owner.
      finalizers: [FINALIZER],
    },
    spec: {
      capacity: { storage: status?.capacity ?? spec.size },
      accessModes: claim.spec?.accessModes ?? ['ReadWriteOnce'],
      volumeMode: spec.volumeMode,
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
      storageClassName: storageClass.metadata?.name ?? '',
      ...(mountOptions === undefined ? {} : { mountOptions }),
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: TOPOLOGY_KEY, operator: 'In', values: [spec.nodeName] }] },
          ],
        },
      },
      csi: {
        driver: DRIVER_NAME,
        volumeHandle: status?.volumeHandle ?? '',
        ...(spec.fsType === undefined ? {} : { fsType: spec.fsType }),
        volumeAttributes: { 'storage.kubernetes.io/csiProvisionerIdentity': DRIVER_NAME },
      },
    },
  };
}
