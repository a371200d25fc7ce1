import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';

const GROUP = 'cbt.storage.k8s.io';
const SNAPSHOTS = 'snapshot.storage.k8s.io';
const RBAC = 'rbac.authorization.k8s.io';
const NAMESPACE = 'keelson-system';
/** Clients need a token for this audience. */
const AUDIENCE = 'changed-blocks';
const PORT = 50_051;
const HEALTH_PORT = 50_052;
const SIDECAR = 'snapshot-metadata';
export const SIDECARS = [`daemonset/${SIDECAR}`, '--namespace', NAMESPACE] as const;
/** Of each volume. */
export const VOLUME_BYTES = 32 << 20;
/** Where pods find the programs. */
export const TOOLS = '/tools';

/**
 * The kind by which clients find the server of changed blocks; it is external-snapshot-metadata's.
 */
export const SERVICE_KIND = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: {
    name: `snapshotmetadataservices.${GROUP}`,
    annotations: {
      'api-approved.kubernetes.io': 'https://github.com/kubernetes-csi/external-snapshot-metadata/pull/2',
    },
  },
  spec: {
    group: GROUP,
    scope: 'Cluster',
    names: {
      kind: 'SnapshotMetadataService',
      listKind: 'SnapshotMetadataServiceList',
      plural: 'snapshotmetadataservices',
      singular: 'snapshotmetadataservice',
    },
    versions: [
      {
        name: 'v1beta1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            required: ['spec'],
            properties: {
              spec: {
                type: 'object',
                required: ['address', 'audience', 'caCert'],
                properties: {
                  address: { type: 'string' },
                  audience: { type: 'string' },
                  caCert: { type: 'string', format: 'byte' },
                },
              },
            },
          },
        },
      },
    ],
  },
};

/** Tells clients that the sidecar of the node with this address is to be asked. */
export function serviceObject(name: string, address: string, authority: Buffer): object {
  return {
    apiVersion: `${GROUP}/v1beta1`,
    kind: 'SnapshotMetadataService',
    metadata: { name },
    spec: { address: `${address}:${PORT}`, audience: AUDIENCE, caCert: authority.toString('base64') },
  };
}

/** The sidecar beside the agent of every node, with what it needs of the API server and no more. */
export function sidecarObjects(tools: string, certificate: Buffer, key: Buffer): object[] {
  const metadata = { name: SIDECAR, namespace: NAMESPACE };
  const labels = { app: SIDECAR };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'kubernetes.io/tls',
      metadata,
      data: { 'tls.crt': certificate.toString('base64'), 'tls.key': key.toString('base64') },
    },
    ...clusterRole(`keelson-${SIDECAR}`, metadata, [
      { apiGroups: [GROUP], resources: ['snapshotmetadataservices'], verbs: ['get'] },
      { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
      { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
      {
        apiGroups: [SNAPSHOTS],
        // Of classes it wants to know whether they name a secret. They are not in the role that
        // comes with it.
        resources: ['volumesnapshots', 'volumesnapshotcontents', 'volumesnapshotclasses'],
        verbs: ['get'],
      },
    ]),
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata,
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: SIDECAR,
            hostNetwork: true,
            terminationGracePeriodSeconds: 1,
            containers: [
              {
                name: 'main',
                image: BUSYBOX_IMAGE,
                command: [
                  `${TOOLS}/csi-snapshot-metadata`,
                  '--csi-address=/run/keelson/csi.sock',
                  `--port=${PORT}`,
                  `--http-endpoint=:${HEALTH_PORT}`,
                  '--tls-cert=/tls/tls.crt',
                  '--tls-key=/tls/tls.key',
                ],
                readinessProbe: { httpGet: { path: '/health', port: HEALTH_PORT }, periodSeconds: 1 },
                volumeMounts: [
                  { name: 'tools', mountPath: TOOLS, readOnly: true },
                  { name: 'tls', mountPath: '/tls', readOnly: true },
                  { name: 'run', mountPath: '/run/keelson' },
                ],
              },
            ],
            volumes: [
              { name: 'tools', hostPath: { path: tools } },
              { name: 'tls', secret: { secretName: SIDECAR } },
              { name: 'run', hostPath: { path: '/run/keelson' } },
            ],
          },
        },
      },
    },
  ];
}

/**
 * A service account that may find the service and make tokens of its own for it; a backup
 * application may read snapshots besides.
 */
export function clientObjects(
  name: string,
  { readsSnapshots }: { readonly readsSnapshots: boolean },
): object[] {
  const account = { name, namespace: 'default' };
  const snapshots = { apiGroups: [SNAPSHOTS], verbs: ['get'] };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: account },
    ...clusterRole(name, account, [
      { apiGroups: [GROUP], resources: ['snapshotmetadataservices'], verbs: ['get'] },
      { apiGroups: [''], resources: ['serviceaccounts/token'], resourceNames: [name], verbs: ['create'] },
      ...(readsSnapshots
        ? [{ ...snapshots, resources: ['volumesnapshots', 'volumesnapshotcontents'] }]
        : [{ ...snapshots, resources: ['volumesnapshotcontents'] }]),
    ]),
  ];
}

function clusterRole(
  name: string,
  account: { readonly name: string; readonly namespace: string },
  rules: readonly object[],
): object[] {
  const role = { apiGroup: RBAC, kind: 'ClusterRole', name };
  return [
    { apiVersion: `${RBAC}/v1`, kind: 'ClusterRole', metadata: { name }, rules },
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: role,
      subjects: [{ kind: 'ServiceAccount', ...account }],
    },
  ];
}

/** A Block claim, restored from `snapshot` where one is given. */
export function blockClaim(name: string, storageClassName: string, snapshot?: string): object {
  const dataSource = { apiGroup: SNAPSHOTS, kind: 'VolumeSnapshot', name: snapshot };
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      volumeMode: 'Block',
      accessModes: ['ReadWriteOnce'],
      storageClassName,
      resources: { requests: { storage: String(VOLUME_BYTES) } },
      ...(snapshot === undefined ? {} : { dataSource }),
    },
  };
}

/** A class of the pool; its volumes are made where their pod goes. */
export function blockClass(name: string, pool: string): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: DRIVER_NAME,
    volumeBindingMode: 'WaitForFirstConsumer',
    parameters: { pool },
  };
}

/** A pod on `node` that sleeps, with the programs and each claim at /dev/CLAIM. */
export function toolPod(
  name: string,
  {
    node,
    tools,
    account = 'default',
  }: { readonly node: string; readonly tools: string; readonly account?: string },
  claims: readonly string[] = [],
): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      serviceAccountName: account,
      terminationGracePeriodSeconds: 0,
      nodeSelector: { 'kubernetes.io/hostname': node },
      containers: [
        {
          name: 'main',
          image: BUSYBOX_IMAGE,
          command: ['sleep', '100000'],
          volumeMounts: [{ name: 'tools', mountPath: TOOLS, readOnly: true }],
          volumeDevices: claims.map((claim) => ({ name: claim, devicePath: `/dev/${claim}` })),
        },
      ],
      volumes: [
        { name: 'tools', hostPath: { path: tools } },
        ...claims.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })),
      ],
    },
  };
}
