import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RELEASE } from '../../src/controller/volumes/lost-node-volumes.ts';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../src/core/volumes/driver.ts';
import { deleteNode, restartKubelet } from '../cluster/faults.ts';
import { type ClaimsLab, claimOf, classOf, eraseDisk, podOf, startClaimsLab } from './claims-lab.ts';

const PINNED = [{ matchLabelExpressions: [{ key: TOPOLOGY_KEY, values: ['node-2'] }] }];

/**
 * The life of a claim on a real Kubernetes, with controller, agents, kubelet and disks; each test
 * cleans up behind itself.
 */
describe('a claim', { timeout: 300_000 }, () => {
  let lab: ClaimsLab;

  beforeAll(async () => {
    lab = await startClaimsLab({ poolSize: '4Gi' });
    const waiting = { volumeBindingMode: 'WaitForFirstConsumer' };
    await lab.apply(
      classOf('options', { ...waiting, mountOptions: ['noatime', 'nodev'] }),
      classOf('on-node-2', { ...waiting, allowedTopologies: PINNED }),
      classOf('at-once-on-node-2', { allowedTopologies: PINNED }),
    );
  }, 900_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 120_000);

  test('of a StatefulSet keeps its data when its pod is deleted, and grows while it is in use', async () => {
    await lab.apply(statefulSet(2));
    for (const pod of ['web-0', 'web-1']) await lab.untilReady(pod);
    await lab.inPod('web-0', 'echo kept >/data/file; sync');
    expect(await lab.inPod('web-0', 'grep " /data " /proc/mounts')).toMatch(/noatime/);
    await lab.kubectl.run(['delete', 'pod', 'web-0', '--grace-period=1']);
    await lab.untilReady('web-0');
    expect(await lab.inPod('web-0', 'cat /data/file')).toBe('kept\n');

    const fill = 'dd if=/dev/urandom of=/data/big bs=1M count=100 2>&1; sync';
    expect(await lab.inPod('web-0', `${fill} || true`)).toMatch(/quota|space/i);
    await askFor('data-web-0', '256Mi');
    await lab.eventually('the claim has 256Mi', async () => {
      const { status } = await lab.claim('data-web-0');
      expect(status?.capacity).toEqual({ storage: '256Mi' });
      expect(status?.conditions ?? []).toEqual([]);
    });
    expect(await lab.inPod('web-0', fill)).not.toMatch(/quota|space/i);
    await lab.eventually('the claim has an event', async () => {
      expect(await lab.events('data-web-0')).toContain(
        'VolumeResizeSuccessful: expanded the volume to 256 MiB',
      );
    });

    await lab.remove('statefulset/web', 'pvc/data-web-0', 'pvc/data-web-1');
    await lab.expectNothingLeft();
  });

  test('that cannot grow has an event with the reason, and its request can be withdrawn', async () => {
    await lab.apply(claimOf('greedy'), podOf('greedy', ['greedy']));
    await lab.untilReady('greedy');
    await askFor('greedy', '100Gi');
    await lab.eventually('the claim says why', async () => {
      const { conditions = [] } = (await lab.claim('greedy')).status ?? {};
      expect(conditions.find(({ type }) => type === 'ControllerResizeError')?.message).toContain(
        'cannot expand the volume to 100 GiB',
      );
    });
    await askFor('greedy', '128Mi');
    await lab.eventually('the claim has 128Mi', async () => {
      const { status } = await lab.claim('greedy');
      expect(status).toMatchObject({ capacity: { storage: '128Mi' } });
      expect(status?.conditions ?? []).toEqual([]);
    });
    await lab.remove('pod/greedy', 'pvc/greedy');
    await lab.expectNothingLeft();
  });

  test('of a pod alone (generic ephemeral) lives and ends with it', async () => {
    const ephemeral = {
      volumes: [{ name: 'v0', ephemeral: { volumeClaimTemplate: { spec: specOf(claimOf('x')) } } }],
    };
    await lab.apply(podOf('alone', ['-'], ephemeral));
    await lab.untilReady('alone');
    await lab.inPod('alone', 'echo 1 >/data/file');
    await lab.remove('pod/alone');
    await lab.expectNothingLeft();
  });

  test('is not needed for a volume in the spec of a pod, which has its size and lives as long, through a restart of kubelet', async () => {
    await lab.apply(podWithInline('scratch', { size: '64Mi' }));
    const { spec } = await lab.untilReady('scratch');
    const node = spec?.nodeName ?? '';
    expect(await lab.onDisk(node)).toEqual([expect.stringMatching(/^csi-[0-9a-f]{64}$/)]);
    await lab.inPod('scratch', 'echo kept >/data/file; sync');
    const fill = 'dd if=/dev/urandom of=/data/big bs=1M count=100 2>&1; sync';
    expect(await lab.inPod('scratch', `${fill} || true`)).toMatch(/quota|space/i);

    await restartKubelet(lab.cluster, node);
    await lab.untilReady('scratch');
    expect(await lab.inPod('scratch', 'cat /data/file')).toBe('kept\n');

    await lab.remove('pod/scratch');
    await lab.expectNothingLeft();
  });

  test('is not needed there, and an unknown attribute keeps the pod from starting, with its name in the event', async () => {
    await lab.apply(podWithInline('typo', { sise: '64Mi' }));
    await lab.eventually('the pod says why', async () => {
      expect(await lab.events('typo')).toMatch(/"sise" is unknown; expected pool, .*\bsize\b/);
    });
    await lab.remove('pod/typo');
    await lab.expectNothingLeft();
  });

  test('is placed on a node that its class allows, with or without a pod', async () => {
    await lab.apply(
      claimOf('pinned', '64Mi', { storageClassName: 'on-node-2' }),
      claimOf('pinned-at-once', '64Mi', { storageClassName: 'at-once-on-node-2' }),
      podOf('pinned', ['pinned', 'pinned-at-once']),
    );
    const pod = await lab.untilReady('pinned');
    expect(pod.spec?.nodeName).toBe('node-2');
    for (const claim of ['pinned', 'pinned-at-once']) {
      expect((await lab.untilBound(claim)).volume.spec.nodeName).toBe('node-2');
    }
    await lab.remove('pod/pinned', 'pvc/pinned', 'pvc/pinned-at-once');
    await lab.expectNothingLeft();
  });

  test('that loses the race for the last space of a node is placed on another', async () => {
    const names = ['race-1', 'race-2'];
    await lab.apply(
      ...names.map((name) => claimOf(name, '2Gi')),
      ...names.map((name) => podOf(name, [name])),
    );
    const nodes = [];
    for (const name of names) nodes.push((await lab.untilReady(name)).spec?.nodeName);
    expect(nodes.sort()).toEqual(['node-1', 'node-2']);
    await lab.remove(...names.flatMap((name) => [`pod/${name}`, `pvc/${name}`]));
    await lab.expectNothingLeft();
  });

  test('with policy Retain leaves its data to the next claim, and to a manual PersistentVolume', async () => {
    await lab.apply(
      claimOf('first', '64Mi', { storageClassName: 'keelson-retain' }),
      podOf('first', ['first']),
    );
    await lab.untilReady('first');
    await lab.inPod('first', 'echo treasure >/data/file; sync');
    const { claim, volume } = await lab.untilBound('first');
    const owner = claim.spec?.volumeName ?? '';
    await lab.remove('pod/first', 'pvc/first');
    await lab.kubectl.wait(`pv/${owner}`, 'jsonpath={.status.phase}=Released');

    await lab.kubectl.run(['patch', 'pv', owner, '--patch={"spec":{"claimRef":null}}']);
    const next = { storageClassName: 'keelson-retain', volumeName: owner };
    await lab.apply(claimOf('second', '64Mi', next), podOf('second', ['second']));
    await lab.untilReady('second');
    expect(await lab.inPod('second', 'cat /data/file')).toBe('treasure\n');
    await lab.remove('pod/second', 'pvc/second');
    await lab.kubectl.wait(`pv/${owner}`, 'jsonpath={.status.phase}=Released');

    await lab.kubectl.run(['delete', 'pv', owner]);
    const name = volume.metadata?.name ?? '';
    await lab.eventually('the volume is listed as kept', async () => {
      expect((await lab.volume(name)).status?.conditions).toContainEqual(
        expect.objectContaining({ type: 'Owned', status: 'False', reason: 'Retained' }),
      );
    });

    await lab.apply(
      adoptedVolume('by-hand', volume.status?.volumeHandle ?? ''),
      claimOf('third', '64Mi', { storageClassName: '', volumeName: 'by-hand' }),
      podOf('third', ['third']),
    );
    const pod = await lab.untilReady('third');
    // Its author has not said on which node it is: we know.
    expect(pod.spec?.nodeName).toBe(volume.spec.nodeName);
    expect(await lab.inPod('third', 'cat /data/file')).toBe('treasure\n');
    await untilWithout(name, 'Owned');
    await lab.remove('pod/third', 'pvc/third');
    await lab.expectNothingLeft();
  });

  test('of a node that is deleted is reported, and works again when the node returns', async () => {
    const { node, name } = await claimWithData('stays');
    await deleteNode(lab.cluster, node);
    await lab.eventually('the claim reports that its node was deleted', async () => {
      expect(await lab.events('stays')).toContain(
        `NodeLost: volume ${name} is on node ${node}, which no longer exists`,
      );
    });
    await restartKubelet(lab.cluster, node);
    await lab.remove('pod/stays');
    await lab.kubectl.wait('pod/stays', 'delete');
    await lab.apply(podOf('stays', ['stays']));
    expect((await lab.untilReady('stays')).spec?.nodeName).toBe(node);
    expect(await lab.inPod('stays', 'cat /data/file')).toBe('treasure\n');
    await untilWithout(name, 'Reachable');
    await lab.remove('pod/stays', 'pvc/stays');
    await lab.expectNothingLeft();
  });

  test('whose node returns with an empty disk is reported lost, and never shows an empty volume', async () => {
    const { node, name } = await claimWithData('burnt');
    await lab.cluster.stopNode(node);
    const { machine } = await lab.cluster.node(node);
    await eraseDisk(machine.directory);
    await lab.cluster.startNode(node);
    await lab.eventually('the claim says that its data is lost', async () => {
      expect(await lab.events('burnt')).toContain('VolumeLost');
    });
    await lab.kubectl.wait(`localvolume/${name}`, 'jsonpath={.status.phase}=Lost');
    await lab.remove('pod/burnt', 'pvc/burnt');
    await lab.expectNothingLeft();
  });

  test('whose node never returns can be deleted when its volume is released, and not before', async () => {
    const { node, name } = await claimWithData('moved');
    await lab.cluster.stopNode(node);
    await lab.kubectl.run(['delete', 'node', node]);
    await lab.remove('pod/moved', 'pvc/moved');
    const owner = (await lab.claim('moved').catch(() => undefined))?.spec?.volumeName ?? name;
    await lab.kubectl.run(['delete', 'pod', 'moved', '--force', '--grace-period=0', '--ignore-not-found']);
    await lab.eventually('its volume waits for the node', async () => {
      expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeDefined();
    });
    const { metadata } = await lab.volume(name);
    await lab.kubectl.run(['annotate', 'localvolume', name, `${RELEASE}=${metadata?.uid ?? ''}`]);
    await lab.eventually('everything of it is removed from the API', async () => {
      expect(await lab.kubectl.run(['get', 'pv,localvolumes', '--output=name'])).toBe('');
    });
    expect(owner).toBe(name);
    await lab.apply(claimOf('moved'), podOf('moved', ['moved']));
    expect((await lab.untilReady('moved')).spec?.nodeName).not.toBe(node);
    await lab.cluster.startNode(node);
    // Released data still exists: it is reported, and deleted by administrators only.
    expect(await lab.onDisk(node)).toEqual([name]);
    await lab.remove('pod/moved', 'pvc/moved');
  });

  const askFor = async (claim: string, size: string): Promise<void> => {
    const patch = { spec: { resources: { requests: { storage: size } } } };
    await lab.kubectl.run(['patch', 'pvc', claim, `--patch=${JSON.stringify(patch)}`]);
  };
  /** The volume has conditions, and not that one. */
  const untilWithout = async (name: string, condition: string): Promise<void> => {
    await lab.eventually(`volume ${name} is without ${condition}`, async () => {
      const { conditions = [] } = (await lab.volume(name)).status ?? {};
      expect(conditions.map(({ type }) => type)).not.toContain(condition);
    });
  };
  const claimWithData = async (name: string): Promise<{ readonly node: string; readonly name: string }> => {
    await lab.apply(claimOf(name), podOf(name, [name]));
    const pod = await lab.untilReady(name);
    await lab.inPod(name, 'echo treasure >/data/file; sync');
    const { volume } = await lab.untilBound(name);
    return { node: pod.spec?.nodeName ?? '', name: volume.metadata?.name ?? '' };
  };
});

function podWithInline(name: string, volumeAttributes: Readonly<Record<string, string>>): object {
  return podOf(name, ['inline'], {
    volumes: [{ name: 'v0', csi: { driver: DRIVER_NAME, volumeAttributes } }],
  });
}

function specOf(object: object): object {
  return (object as { readonly spec: object }).spec;
}

function statefulSet(replicas: number): object {
  const labels = { app: 'web' };
  const claim = claimOf('data', '64Mi', { storageClassName: 'options' }) as {
    metadata: object;
    spec: object;
  };
  const { spec } = podOf('web', []) as { spec: { containers: readonly object[] } };
  const mounted = { volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'web' },
    spec: {
      serviceName: 'web',
      replicas,
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [
            {
              name: 'main',
              image: BUSYBOX_IMAGE,
              command: ['sleep', '100000'],
              ...spec.containers[0],
              ...mounted,
            },
          ],
        },
      },
      volumeClaimTemplates: [{ metadata: claim.metadata, spec: claim.spec }],
    },
  };
}

function adoptedVolume(name: string, volumeHandle: string): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name },
    spec: {
      capacity: { storage: '64Mi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Delete',
      storageClassName: '',
      csi: { driver: DRIVER_NAME, volumeHandle },
    },
  };
}
