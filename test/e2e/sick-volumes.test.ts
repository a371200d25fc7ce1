import { mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalVolume } from '../../src/api/local-volume.ts';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Kubectl } from '../cluster/kubectl.ts';

const NODE = 'node-1';
const POOL_FILE = '/var/lib/keelson/pools/default.img';
const POOL = '/var/lib/keelson/pools/default';
const WITHIN = { timeout: 120_000, interval: 1_000 };
const MINUTES = 60_000;

/**
 * What a cluster sees of volumes that are not well, with Keelson as it is shipped. Each test goes
 * on from the one before.
 */
describe('unhealthy volumes', { timeout: 6 * MINUTES }, () => {
  const cluster = new Cluster({ name: `sick-${process.pid}` });
  let kubectl: Kubectl;

  beforeAll(async () => {
    const settings = { keelson: 'shipped', poolSize: '2Gi', kubeletFeatures: 'CSIVolumeHealth' } as const;
    await cluster.up({ nodes: 1, settings });
    kubectl = await cluster.kubectl();
    await kubectl.apply([
      storagePool('images', '/var/lib/keelson/images.img'),
      storageClass('images', { pool: 'images' }),
      claim('precious', 'keelson'),
      claim('sick', 'images'),
      pod('precious'),
      pod('sick'),
    ]);
    for (const name of ['precious', 'sick']) {
      await kubectl.wait(`pod/${name}`, 'condition=Ready', { timeoutMs: 2 * MINUTES });
    }
    await inPod('precious', 'echo kept >/data/file; sync');
  }, 15 * MINUTES);

  afterAll(async () => {
    await cluster.down();
  }, 2 * MINUTES);

  const inPod = (name: string, script: string): Promise<string> =>
    kubectl.run(['exec', name, '--', 'sh', '-c', script]);
  const onNode = async (script: string): Promise<string> =>
    (await cluster.machine(NODE).run('sh', ['-c', script])).stdout;
  /** What kubelet measures of claims: 1 for one that is not well. */
  const abnormal = async (name: string): Promise<string | undefined> => {
    const text = await kubectl.run(['get', '--raw', `/api/v1/nodes/${NODE}/proxy/metrics`]);
    const line = text
      .split('\n')
      .find(
        (candidate) =>
          candidate.startsWith('kubelet_volume_stats_health_status_abnormal{') &&
          candidate.includes(`persistentvolumeclaim="${name}"`),
      );
    return line?.split(' ').at(-1);
  };
  const eventsOf = async (name: string): Promise<string> => {
    const { items } = await kubectl.get<{ items: { reason: string; message: string }[] }>([
      'events',
      `--field-selector=involvedObject.name=${name}`,
    ]);
    return items.map(({ reason, message }) => `${reason}: ${message}`).join('\n');
  };

  test('are distinguished by kubelet, in its metrics and in an event of the pod', async () => {
    await expect.poll(() => abnormal('sick'), WITHIN).toBe('0');
    const uid = await kubectl.run(['get', 'pvc', 'sick', '--output=jsonpath={.spec.volumeName}']);
    // What the kernel does by itself when the disk fails under a file system.
    await onNode(`mount -o remount,ro "$(findmnt -rno TARGET | grep -m1 '${uid}/mount$')"`);
    await expect(inPod('sick', 'echo more >/data/file')).rejects.toThrow(/Read-only file system/);
    await expect.poll(() => abnormal('sick'), WITHIN).toBe('1');
    await expect
      .poll(() => eventsOf('sick'), WITHIN)
      .toMatch(/VolumeConditionAbnormal: Volume data: FilesystemReadOnly: /);
    expect(await abnormal('precious')).toBe('0');
  });

  test('of a pool that is missing after a reboot keep their pods waiting, and nothing is written in its place', async () => {
    await cluster.stopNode(NODE);
    const hidden = join(cluster.directory, 'elsewhere.img');
    const disk = join(
      cluster.machine(NODE).directory,
      'disk/keelson',
      POOL_FILE.slice('/var/lib/keelson/'.length),
    );
    await mkdir(dirname(hidden), { recursive: true });
    await rename(disk, hidden);
    await cluster.startNode(NODE);

    await expect
      .poll(() => eventsOf('precious'), WITHIN)
      .toMatch(/FailedMount: .*pool default.*default\.img/s);
    const { status } = await kubectl.get<{
      status: { storage: { pools: { name: string; ready: boolean; message?: string }[] } };
    }>(['nodeinventory', NODE]);
    expect(status.storage.pools.find(({ name }) => name === 'default')).toMatchObject({ ready: false });
    const { items } = await kubectl.get<{ items: LocalVolume[] }>(['localvolumes']);
    expect(items.map((item) => item.status?.phase)).not.toContain('Lost');
    const outside = await cluster.machine(NODE).outside(POOL);
    expect(await readdir(outside)).toEqual([]);
    expect(await onNode(`findmnt -n ${POOL} || echo not mounted`)).toBe('not mounted\n');
    await expect(onNode(`test -e ${POOL_FILE}`)).rejects.toThrow();

    await rename(hidden, disk);
    await kubectl.wait('pod/precious', 'condition=Ready', { timeoutMs: 3 * MINUTES });
    expect(await inPod('precious', 'cat /data/file')).toBe('kept\n');
  });
});

function storagePool(name: string, file: string): object {
  return {
    apiVersion: 'keelson.dev/v1alpha1',
    kind: 'StoragePool',
    metadata: { name },
    spec: { backend: 'image', source: { file, fileSize: '1Gi' } },
  };
}

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

function claim(name: string, storageClassName: string): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      storageClassName,
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '64Mi' } },
    },
  };
}

function pod(name: string): object {
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
          imagePullPolicy: 'Never',
          command: ['sleep', '100000'],
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        },
      ],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: name } }],
    },
  };
}
