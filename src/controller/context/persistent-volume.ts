import type { LocalVolume } from '../../api/local-volume.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/volumes/driver.ts';
import { resolveSecrets, type SecretRef, type SecretUse } from '../../core/claims/secret-templates.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../kube/built-in.ts';
import { claimView } from './views.ts';

/** external-provisioner's name, which tools and backups know; Keelson takes its place. */
export const FINALIZER = 'external-provisioner.volume.kubernetes.io/finalizer';
const PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by';

/**
 * Returns the PersistentVolume of a Ready LocalVolume: bound to its claim by UID, usable on its
 * node only.
 */
export function persistentVolumeOf(
  volume: LocalVolume,
  claim: PersistentVolumeClaim,
  storageClass: StorageClass,
): PersistentVolume {
  const { spec, status } = volume;
  const { name = '', namespace = '', uid = '' } = claim.metadata ?? {};
  const { mountOptions, parameters = {} } = storageClass;
  const className = storageClass.metadata?.name ?? '';
  const secrets = resolveSecrets(
    { name: className, parameters },
    claimView(claim),
    volume.metadata?.name ?? '',
  );
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: volume.metadata?.name ?? '',
      annotations: {
        [PROVISIONED_BY]: DRIVER_NAME,
        ...secretAnnotations('provisioner-deletion', secrets.provisioner),
        ...secretAnnotations('controller-modify', secrets['controller-modify']),
      },
      // With policy Retain as well, until the LocalVolume is annotated: the PersistentVolume must
      // not be deleted before the LocalVolume records its owner.
      finalizers: [FINALIZER],
    },
    spec: {
      capacity: { storage: status?.capacity ?? spec.size },
      accessModes: claim.spec?.accessModes ?? ['ReadWriteOnce'],
      volumeMode: spec.volumeMode,
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
      storageClassName: className,
      ...(mountOptions === undefined ? {} : { mountOptions }),
      ...(spec.attributesClassName && { volumeAttributesClassName: spec.attributesClassName }),
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid },
      nodeAffinity: nodeAffinityOf(volume),
      csi: {
        driver: DRIVER_NAME,
        volumeHandle: status?.volumeHandle ?? '',
        ...(spec.fsType === undefined ? {} : { fsType: spec.fsType }),
        ...secretRefs(secrets),
        volumeAttributes: { 'storage.kubernetes.io/csiProvisionerIdentity': DRIVER_NAME },
      },
    },
  };
}

/** Affinity to the node that has the volume. */
export function nodeAffinityOf({
  spec,
}: LocalVolume): NonNullable<NonNullable<PersistentVolume['spec']>['nodeAffinity']> {
  const node = { key: TOPOLOGY_KEY, operator: 'In', values: [spec.nodeName] };
  return { required: { nodeSelectorTerms: [{ matchExpressions: [node] }] } };
}

type CsiSource = NonNullable<NonNullable<PersistentVolume['spec']>['csi']>;

/** References that kubelet and controllers read from the PersistentVolume. */
function secretRefs(secrets: Readonly<Partial<Record<SecretUse, SecretRef>>>): Partial<CsiSource> {
  return {
    ...(secrets['controller-publish'] && { controllerPublishSecretRef: secrets['controller-publish'] }),
    ...(secrets['node-stage'] && { nodeStageSecretRef: secrets['node-stage'] }),
    ...(secrets['node-publish'] && { nodePublishSecretRef: secrets['node-publish'] }),
    ...(secrets['controller-expand'] && { controllerExpandSecretRef: secrets['controller-expand'] }),
    ...(secrets['node-expand'] && { nodeExpandSecretRef: secrets['node-expand'] }),
  };
}

/** References without a field, in the annotations that the CSI sidecars read. */
function secretAnnotations(what: string, secret: SecretRef | undefined): Readonly<Record<string, string>> {
  if (secret === undefined) return {};
  const key = `volume.kubernetes.io/${what}-secret`;
  return { [`${key}-name`]: secret.name, [`${key}-namespace`]: secret.namespace };
}
