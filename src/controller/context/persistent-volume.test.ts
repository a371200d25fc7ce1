import { expect, test } from 'vitest';
import { persistentVolumeOf } from './persistent-volume.ts';

const metadata = { name: 'data', namespace: 'team', uid: '1' };
const volume = {
  metadata: { name: 'pvc-1' },
  spec: { nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
  status: { phase: 'Ready', capacity: '1Gi', volumeHandle: 'vol-1' },
} as const;

test('a PersistentVolume carries the Secrets of its class where kubelet looks for them', () => {
  const parameters = Object.fromEntries(
    ['provisioner', 'node-stage', 'node-publish', 'controller-expand', 'node-expand'].flatMap((use) => [
      [`csi.storage.k8s.io/${use}-secret-name`, `${use}-\${pvc.name}`],
      [`csi.storage.k8s.io/${use}-secret-namespace`, '${pvc.namespace}'],
    ]),
  );
  const storageClass = { metadata: { name: 'local' }, provisioner: 'keelson.dev', parameters };
  const made = persistentVolumeOf(volume, { metadata }, storageClass);
  const secret = (use: string): object => ({ name: `${use}-data`, namespace: 'team' });
  expect(made.spec?.csi).toMatchObject({
    nodeStageSecretRef: secret('node-stage'),
    nodePublishSecretRef: secret('node-publish'),
    controllerExpandSecretRef: secret('controller-expand'),
    nodeExpandSecretRef: secret('node-expand'),
  });
  expect(made.metadata?.annotations).toMatchObject({
    'volume.kubernetes.io/provisioner-deletion-secret-name': 'provisioner-data',
    'volume.kubernetes.io/provisioner-deletion-secret-namespace': 'team',
  });
});
