import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../../../src/demo/busybox-image.ts';
import { parseQuantity } from '../../../src/core/kube-text/quantity.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import type { Kubectl } from '../../cluster/kubectl.ts';
import { sharedCluster } from './cluster.ts';

interface PoolObject {
  readonly metadata: { readonly deletionTimestamp?: string; readonly finalizers?: readonly string[] };
  readonly status?: {
    readonly nodes?: { readonly selected: number; readonly ready: number };
    readonly volumes?: number;
    readonly capacity?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
    }[];
  };
}

interface CapacityObject {
  readonly storageClassName: string;
  readonly capacity: string;
}

interface VolumeObject {
  readonly spec: { readonly poolName: string; readonly claim?: { readonly name: string } };
}

const API = 'keelson.dev/v1alpha1';
const WITHIN = { timeout: 120_000, interval: 300 };

/**
 * StoragePools as an administrator uses them: real kubectl and kubelets, controller and agents as
 * they ship. Each test goes on from the one before.
 */
describe('StoragePools', { timeout: 300_000 }, () => {
  let cluster: Cluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await sharedCluster();
    kubectl = await cluster.kubectl();
    await kubectl.apply([
      storageClass('images', { pool: 'images' }),
      storageClass('any-image', { backend: 'image' }),
      storageClass('default-pool', { pool: 'default' }),
      storageClass('by-labels', { poolSelector: 'media=ssd,tier in (gold,silver)' }),
    ]);
  }, 900_000);

  afterAll(async () => {
    await kubectl.run(['delete', 'storageclasses', 'images', 'any-image', 'default-pool', 'by-labels']);
  }, 120_000);

  const pool = (name: string): Promise<PoolObject> => kubectl.get<PoolObject>(['storagepool', name]);
  const applyPool = (name: string, spec: object): Promise<void> =>
    kubectl.apply([{ apiVersion: API, kind: 'StoragePool', metadata: { name }, spec }]);

  test('are on every node that they select within seconds, and say so', async () => {
    const source = { file: '/var/lib/keelson/images.img', fileSize: '1Gi' };
    await applyPool('images', { backend: 'image', source });
    await expect
      .poll(async () => (await pool('images')).status, WITHIN)
      .toMatchObject({ nodes: { selected: 2, ready: 2 }, volumes: 0 });
    const { metadata, status } = await pool('images');
    expect(metadata.finalizers).toContain('keelson.dev/pool');
    expect(status?.conditions).toMatchObject([
      { type: 'Ready', status: 'True' },
      { type: 'InUse', status: 'False' },
    ]);
  });

  test('take the claims of classes that name them: one pod has volumes of two pools, and a device', async () => {
    await kubectl.apply([
      claim('data', 'images', {}),
      claim('raw', 'any-image', { volumeMode: 'Block' }),
      claim('other', 'default-pool', {}),
      podWith('user', ['data', 'other'], ['raw']),
    ]);
    await kubectl.wait('pod/user', 'condition=Ready');
    const inPod = (script: string): Promise<string> =>
      kubectl.run(['exec', 'user', '--', 'sh', '-c', script]);
    expect(await inPod('grep " /data " /proc/mounts')).toContain(' ext4 ');
    expect(await inPod('grep " /other " /proc/mounts')).toContain(' btrfs ');
    await inPod('echo kept > /data/file && printf device | dd of=/dev/raw conv=fsync 2>/dev/null');
    expect(await inPod('dd if=/dev/raw bs=6 count=1 2>/dev/null')).toBe('device');
  });

  test('are chosen by their labels, and the scheduler knows at once where these are', async () => {
    const roomOfClass = async (): Promise<readonly string[]> => {
      const { items } = await kubectl.get<{ readonly items: readonly CapacityObject[] }>([
        'csistoragecapacities',
        '--namespace=keelson-system',
      ]);
      return items
        .filter(({ storageClassName }) => storageClassName === 'by-labels')
        .map(({ capacity }) => capacity);
    };
    expect(await roomOfClass()).toEqual(['0', '0']);
    await kubectl.apply([claim('labelled', 'by-labels', {}), podWith('label-user', ['labelled'])]);
    await kubectl.run(['label', 'storagepool', 'images', 'media=ssd', 'tier=silver']);
    await kubectl.wait('pod/label-user', 'condition=Ready', { timeoutMs: 120_000 });
    const { items } = await kubectl.get<{ readonly items: readonly VolumeObject[] }>(['localvolumes']);
    expect(items.find(({ spec }) => spec.claim?.name === 'labelled')?.spec.poolName).toBe('images');
    expect(await roomOfClass()).not.toContain('0');
    await kubectl.run(['delete', 'pod/label-user', 'pvc/labelled']);
    await kubectl.run(['label', 'storagepool', 'images', 'tier-']);
    await expect.poll(roomOfClass, WITHIN).toEqual(['0', '0']);
  });

  test('that grow in the API grow on the nodes', async () => {
    const before = (await pool('images')).status?.capacity;
    await applyPool('images', {
      backend: 'image',
      source: { file: '/var/lib/keelson/images.img', fileSize: '2Gi' },
    });
    await expect.poll(async () => (await pool('images')).status?.capacity, WITHIN).not.toBe(before);
    const shrunk = applyPool('images', {
      backend: 'image',
      source: { file: '/var/lib/keelson/images.img', fileSize: '1Gi' },
    });
    await expect(shrunk).rejects.toThrow(/pools do not shrink/);
  });

  test('of whole devices are formatted when these are empty, take one more, and never one that holds anything', async () => {
    const { machine } = await cluster.node('node-1');
    const device = async (name: string): Promise<string> => {
      const file = `/var/lib/keelson/${name}.disk`;
      await machine.run('truncate', ['--size=512M', file]);
      return (await machine.run('losetup', ['--find', '--show', file])).stdout.trim();
    };
    const [first, second, foreign] = [await device('first'), await device('second'), await device('foreign')];
    await machine.run('mkfs.ext4', ['-q', foreign]);
    const disks = async (...devices: readonly string[]): Promise<void> =>
      await applyPool('disks', {
        backend: 'btrfs',
        source: { devices },
        nodeSelector: { matchLabels: { 'kubernetes.io/hostname': 'node-1' } },
      });
    const capacity = async (): Promise<number> =>
      Number(parseQuantity((await pool('disks')).status?.capacity ?? '0', 'capacity'));
    await disks(first);
    await expect
      .poll(async () => (await pool('disks')).status, WITHIN)
      .toMatchObject({ nodes: { selected: 1, ready: 1 } });
    const before = await capacity();
    expect(before).toBeGreaterThan(300 << 20);
    await kubectl.apply([
      storageClass('disks', { pool: 'disks' }),
      claim('on-disks', 'disks', {}),
      podWith('disk-user', ['on-disks']),
    ]);
    await kubectl.wait('pod/disk-user', 'condition=Ready');
    const inPod = (script: string): Promise<string> =>
      kubectl.run(['exec', 'disk-user', '--', 'sh', '-c', script]);
    await inPod('echo kept >/on-disks/file && sync');
    // With the pod at work.
    await disks(first, second);
    await expect.poll(capacity, WITHIN).toBeGreaterThan(1.5 * before);
    await applyPool('taken', {
      backend: 'btrfs',
      source: { devices: [foreign] },
      nodeSelector: { matchLabels: { 'kubernetes.io/hostname': 'node-1' } },
    });
    await expect
      .poll(async () => (await pool('taken')).status?.conditions?.[0]?.message ?? '', WITHIN)
      .toMatch(/only whole, empty devices are formatted; found .*ext4/);
    await machine.run('sh', ['-c', `blkid --probe ${foreign} | grep -q ext4`]);
    expect(await inPod('cat /on-disks/file')).toBe('kept\n');
    await kubectl.run(['delete', 'pod/disk-user', 'pvc/on-disks', 'storageclass/disks']);
    await kubectl.run(['delete', 'storagepool', 'disks', 'taken']);
    for (const path of [first, second, foreign]) await machine.run('losetup', ['--detach', path]);
  });

  test('that fail say why on which node, and nothing else stops', async () => {
    await applyPool('nowhere', { backend: 'image', source: { path: '/var/lib/keelson/nowhere' } });
    await expect
      .poll(async () => (await pool('nowhere')).status?.conditions?.[0]?.message ?? '', WITHIN)
      .toMatch(/pool nowhere: \/var\/lib\/keelson\/nowhere does not exist/);
    await applyPool('default', { backend: 'btrfs', source: { path: '/mnt/other' } });
    await expect
      .poll(async () => (await pool('default')).status?.conditions?.[0]?.message ?? '', WITHIN)
      .toMatch(/configuration file takes precedence/);
    await kubectl.run(['exec', 'user', '--', 'sh', '-c', 'echo more >> /data/file']);
    await kubectl.run(['delete', 'storagepool', 'nowhere', 'default']);
  });

  test('that are deleted stay until they are empty, and then go from the nodes', async () => {
    await expect.poll(async () => (await pool('images')).status?.volumes, WITHIN).toBe(2);
    await kubectl.run(['delete', 'storagepool', 'images', '--wait=false']);
    await expect
      .poll(async () => (await pool('images')).status?.conditions?.[1]?.message ?? '', WITHIN)
      .toMatch(/takes no new volumes, and is deleted once these are/);
    await kubectl.run(['exec', 'user', '--', 'sh', '-c', 'grep kept /data/file']);
    await kubectl.run(['delete', 'pod', 'user']);
    await kubectl.run(['delete', 'pvc', 'data', 'raw', 'other']);
    await kubectl.wait('storagepool/images', 'delete');
  });
});

function storageClass(name: string, parameters: object): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: 'keelson.dev',
    volumeBindingMode: 'WaitForFirstConsumer',
    parameters,
  };
}

function claim(name: string, storageClassName: string, over: object): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      storageClassName,
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '64Mi' } },
      ...over,
    },
  };
}

/** A pod that sleeps with each claim at /NAME, and each of `devices` at /dev/NAME. */
function podWith(name: string, claims: readonly string[], devices: readonly string[] = []): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: BUSYBOX_IMAGE,
          command: ['sleep', '3600'],
          volumeMounts: claims.map((claimName) => ({ name: claimName, mountPath: `/${claimName}` })),
          volumeDevices: devices.map((claimName) => ({ name: claimName, devicePath: `/dev/${claimName}` })),
        },
      ],
      volumes: [...claims, ...devices].map((claimName) => ({
        name: claimName,
        persistentVolumeClaim: { claimName },
      })),
    },
  };
}
