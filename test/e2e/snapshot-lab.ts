import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Kubectl } from '../cluster/kubectl.ts';
import { waitFor } from '../cluster/wait.ts';

export interface Thing {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly finalizers?: readonly string[];
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

export const SNAPSHOT_API = 'snapshot.storage.k8s.io/v1';
const CRDS = join(import.meta.dirname, '../../deploy/snapshot-crds');

/**
 * A real cluster of two nodes with our controller and agents as they ship, and what people do with
 * snapshots in it.
 */
export class SnapshotLab implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly kubectl: Kubectl;
  readonly #base: string;

  private constructor(cluster: Cluster, kubectl: Kubectl, base: string) {
    this.cluster = cluster;
    this.kubectl = kubectl;
    this.#base = base;
  }

  static async start(name: string): Promise<SnapshotLab> {
    const base = await mkdtemp(join(homedir(), '.cache/keelson-snapshots-test-'));
    const cluster = new Cluster({ name: `${name}-${process.pid}`, baseDirectory: base });
    try {
      await cluster.up({ nodes: 2, settings: { keelson: 'shipped', proxy: false, poolSize: '2Gi' } });
      return new SnapshotLab(cluster, await cluster.kubectl(), base);
    } catch (error) {
      await cluster.down();
      await rm(base, { recursive: true, force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster.down();
    await rm(this.#base, { recursive: true, force: true });
  }

  /** As a user does it; the CustomResourceDefinitions may come after the controller. */
  async installSnapshotKinds(): Promise<void> {
    await this.kubectl.run(['apply', '-k', CRDS]);
    await this.kubectl.wait('crd/volumesnapshots.snapshot.storage.k8s.io', 'condition=Established');
    await this.kubectl.wait('crd/volumesnapshotcontents.snapshot.storage.k8s.io', 'condition=Established');
    await this.kubectl.wait('crd/volumesnapshotclasses.snapshot.storage.k8s.io', 'condition=Established');
  }

  async addClass(name: string, deletionPolicy: 'Delete' | 'Retain', isDefault = false): Promise<void> {
    const annotations = isDefault ? { 'snapshot.storage.kubernetes.io/is-default-class': 'true' } : {};
    const metadata = { name, annotations };
    const kind = 'VolumeSnapshotClass';
    await this.kubectl.apply([
      { apiVersion: SNAPSHOT_API, kind, metadata, driver: 'keelson.dev', deletionPolicy },
    ]);
  }

  async addClaim(name: string, storageClassName: string, size: string, snapshot?: string): Promise<void> {
    const apiGroup = 'snapshot.storage.k8s.io';
    const dataSource =
      snapshot === undefined ? {} : { dataSource: { apiGroup, kind: 'VolumeSnapshot', name: snapshot } };
    await this.kubectl.apply([
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName,
          resources: { requests: { storage: size } },
          ...dataSource,
        },
      },
    ]);
  }

  async addSnapshot(name: string, claim: string, className?: string): Promise<void> {
    await this.#apply('VolumeSnapshot', name, {
      source: { persistentVolumeClaimName: claim },
      ...(className === undefined ? {} : { volumeSnapshotClassName: className }),
    });
  }

  /** A VolumeSnapshot and a content that stands for `handle`, which name each other. */
  async addExisting(name: string, handle: string, deletionPolicy: 'Delete' | 'Retain'): Promise<void> {
    await this.#apply('VolumeSnapshotContent', `static-${name}`, {
      driver: 'keelson.dev',
      deletionPolicy,
      source: { snapshotHandle: handle },
      volumeSnapshotRef: { namespace: 'default', name },
    });
    await this.#apply('VolumeSnapshot', name, { source: { volumeSnapshotContentName: `static-${name}` } });
  }

  /** As the standard snapshot-controller would. */
  async addContent(name: string, spec: object): Promise<void> {
    await this.kubectl.apply([
      {
        apiVersion: SNAPSHOT_API,
        kind: 'VolumeSnapshotContent',
        metadata: {
          name,
          finalizers: ['snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection'],
        },
        spec,
      },
    ]);
  }

  /** The CSI id of a claim's volume. */
  async handleOf(claim: string): Promise<string> {
    const { spec } = await this.get('pvc', claim);
    const { status } = await this.get('localvolume', String(spec['volumeName']));
    return String(status?.['volumeHandle']);
  }

  async controllerLog(): Promise<string> {
    return await (await this.cluster.keelson()).controllerLog();
  }

  async #apply(kind: string, name: string, spec: object): Promise<void> {
    await this.kubectl.apply([{ apiVersion: SNAPSHOT_API, kind, metadata: { name }, spec }]);
  }

  async addPod(name: string, claim: string): Promise<void> {
    await this.kubectl.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          terminationGracePeriodSeconds: 0,
          automountServiceAccountToken: false,
          containers: [
            {
              name: 'main',
              image: BUSYBOX_IMAGE,
              command: ['sleep', '100000'],
              volumeMounts: [{ name: 'data', mountPath: '/data' }],
            },
          ],
          volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim } }],
        },
      },
    ]);
  }

  /** The node of a pod that runs. */
  async nodeOf(pod: string): Promise<string> {
    await this.kubectl.wait(`pod/${pod}`, 'condition=Ready');
    const { spec } = await this.get('pod', pod);
    return String(spec['nodeName']);
  }

  async inPod(pod: string, command: string): Promise<string> {
    return (await this.kubectl.run(['exec', pod, '--', 'sh', '-c', command])).trim();
  }

  async get(kind: string, name: string): Promise<Thing> {
    return await this.kubectl.get<Thing>([kind, name]);
  }

  async list(kind: string): Promise<readonly Thing[]> {
    return (await this.kubectl.get<{ items: Thing[] }>([kind])).items;
  }

  async ready(snapshot: string): Promise<Thing> {
    await this.kubectl.wait(`volumesnapshot/${snapshot}`, 'jsonpath={.status.readyToUse}=true');
    return await this.get('volumesnapshot', snapshot);
  }

  /** Does not wait: what holds it up is what tests are about. */
  async delete(kind: string, ...names: readonly string[]): Promise<void> {
    await this.kubectl.run(['delete', kind, ...names, '--wait=false']);
  }

  async waitUntilDeleted(kind: string, name: string): Promise<void> {
    await this.kubectl.wait(`${kind}/${name}`, 'delete');
  }

  async notes(name: string): Promise<string> {
    const { items } = await this.kubectl.get<{
      items: { regarding: { name: string }; note: string; reason: string }[];
    }>(['events.events.k8s.io', '-A']);
    return items
      .filter(({ regarding }) => regarding.name === name)
      .map(({ reason, note }) => `${reason}: ${note}`)
      .join('\n');
  }

  /** Repeats `check` until it does not throw. */
  async eventually(what: string, check: () => Promise<void>, timeoutMs = 180_000): Promise<void> {
    const tried = async (): Promise<true> => {
      await check();
      return true;
    };
    try {
      await waitFor(what, tried, { timeoutMs, everyMs: 300 });
    } catch (error) {
      console.error((await this.controllerLog()).split('\n').slice(-40).join('\n'));
      throw error;
    }
  }

  /** Names of the snapshots that the nodes' agents have on record, whatever the API server says. */
  async onDisk(): Promise<readonly string[]> {
    const names: string[] = [];
    for (const node of ['node-1', 'node-2']) {
      const directory = join(this.cluster.machine(node).directory, 'disk/keelson/snapshots');
      const files = await readdir(directory).catch(() => []);
      for (const file of files.filter((each) => each.endsWith('.json'))) {
        const record = JSON.parse(await readFile(join(directory, file), 'utf8')) as { readonly name: string };
        names.push(record.name);
      }
    }
    return names.sort();
  }

  async expectNoSnapshotsLeft(): Promise<void> {
    await this.eventually('nothing is left of snapshots', async () => {
      expect((await this.list('volumesnapshots')).map(({ metadata }) => metadata.name)).toEqual([]);
      expect((await this.list('volumesnapshotcontents')).map(({ metadata }) => metadata.name)).toEqual([]);
      const cuts = (await this.list('localvolumes')).filter(({ spec }) => spec['type'] === 'Snapshot');
      expect(cuts.map(({ metadata }) => metadata.name)).toEqual([]);
      expect(await this.onDisk()).toEqual([]);
    });
  }
}
