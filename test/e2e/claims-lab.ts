import { mkdtemp, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { LocalVolume } from '../../src/api/local-volume.ts';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../src/kube/built-in.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Kubectl } from '../cluster/kubectl.ts';
import { waitFor } from '../cluster/wait.ts';

/**
 * A whole Kubernetes with controller and agents as they ship, and what tests of claims say again
 * and again.
 */
export interface ClaimsLab extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly kubectl: Kubectl;
  apply(...objects: readonly object[]): Promise<void>;
  remove(...names: readonly string[]): Promise<void>;
  untilReady(pod: string): Promise<Pod>;
  /** Output of a shell command in a pod. */
  inPod(pod: string, command: string): Promise<string>;
  untilBound(claim: string): Promise<{ readonly claim: PersistentVolumeClaim; readonly volume: LocalVolume }>;
  claim(name: string): Promise<PersistentVolumeClaim>;
  owner(name: string): Promise<PersistentVolume>;
  volume(name: string): Promise<LocalVolume>;
  /** What was said of an object. */
  events(name: string): Promise<string>;
  /** Resolves when `check` does not throw any more. */
  eventually(what: string, check: () => Promise<void>, timeoutMs?: number): Promise<void>;
  /** Names of what a node has on disk, as its agent says. */
  onDisk(node: string): Promise<readonly string[]>;
  /**
   * These claims are all that there are, each is Bound, and there is one PersistentVolume,
   * LocalVolume and volume on disk for each.
   */
  expectOneEach(claims: readonly string[], timeoutMs?: number): Promise<void>;
  /** No PersistentVolume, LocalVolume or volume on disk is left. */
  expectNothingLeft(timeoutMs?: number): Promise<void>;
}

interface Listed {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
    readonly status?: { readonly phase?: string };
  }[];
}

export interface ClaimsLabOptions {
  readonly poolSize: string;
  /** Whether controller and agents are pods, as they ship, or processes of the machines. */
  readonly keelson?: 'shipped' | 'processes';
}

export async function startClaimsLab({
  poolSize,
  keelson = 'shipped',
}: ClaimsLabOptions): Promise<ClaimsLab> {
  await using undo = new AsyncDisposableStack();
  const base = await mkdtemp(join(homedir(), '.cache/keelson-claims-'));
  undo.defer(() => rm(base, { recursive: true, force: true }));
  const cluster = new Cluster({ name: `claims-${process.pid}`, baseDirectory: base });
  undo.defer(() => cluster.down());
  await cluster.up({
    nodes: 2,
    settings: { keelson, controller: true, proxy: false, controllerQps: 200, poolSize },
  });
  const kubectl = await cluster.kubectl();
  await kubectl.apply([IMMEDIATE]);
  const stack = undo.move();
  const eventually: ClaimsLab['eventually'] = async (what, check, timeoutMs = 120_000) => {
    await waitFor(
      what,
      async () => {
        await check();
        return true;
      },
      { timeoutMs, everyMs: 250 },
    );
  };
  const lab: ClaimsLab = {
    ...{ cluster, kubectl, eventually },
    apply: (...objects) => kubectl.apply(objects),
    async remove(...names) {
      await kubectl.run(['delete', ...names, '--ignore-not-found', '--wait=false', '--grace-period=1']);
    },
    async untilReady(pod) {
      // A StatefulSet or a scheduler may still have to make it.
      await kubectl.wait(`pod/${pod}`, 'create');
      await kubectl.wait(`pod/${pod}`, 'condition=Ready');
      return await kubectl.get<Pod>(['pod', pod]);
    },
    inPod: (pod, command) => kubectl.run(['exec', pod, '--', 'sh', '-c', command]),
    async untilBound(name) {
      await kubectl.wait(`pvc/${name}`, 'jsonpath={.status.phase}=Bound');
      const claim = await lab.claim(name);
      const { spec } = await lab.owner(claim.spec?.volumeName ?? '');
      const { items } = await kubectl.get<{ items: LocalVolume[] }>(['localvolumes']);
      const volume = items.find(({ status }) => status?.volumeHandle === spec?.csi?.volumeHandle);
      if (volume === undefined) throw new Error(`claim ${name} is bound, and no LocalVolume is behind it`);
      return { claim, volume };
    },
    claim: (name) => kubectl.get(['pvc', name]),
    owner: (name) => kubectl.get(['pv', name]),
    volume: (name) => kubectl.get(['localvolume', name]),
    async events(name) {
      const { items } = await kubectl.get<{ items: { reason: string; message: string }[] }>([
        'events',
        '--all-namespaces',
        `--field-selector=involvedObject.name=${name}`,
      ]);
      return items.map(({ reason, message }) => `${reason}: ${message}`).join('\n');
    },
    async onDisk(node) {
      const { machine } = await cluster.node(node);
      const { stdout } = await machine.run('sh', [
        '-c',
        'cat /var/lib/keelson/volumes/*.json 2>/dev/null || true',
      ]);
      return [...stdout.matchAll(/"name":\s*"([^"]+)"/g)].map(([, name = '']) => name);
    },
    async expectOneEach(claims, timeoutMs = 120_000) {
      await eventually(
        `${claims.length} claims have a volume each`,
        async () => {
          const bound = await kubectl.get<Listed>(['pvc']);
          expect(bound.items.map(({ metadata }) => metadata.name).sort()).toEqual([...claims].sort());
          expect(new Set(bound.items.map(({ status }) => status?.phase))).toEqual(new Set(['Bound']));
          const owners = await kubectl.get<Listed>(['pv']);
          const volumes = await kubectl.get<Listed>(['localvolumes']);
          const names = owners.items.map(({ metadata }) => metadata.name).sort();
          expect(names).toHaveLength(claims.length);
          expect(volumes.items.map(({ metadata }) => metadata.name).sort()).toEqual(names);
          expect([...(await lab.onDisk('node-1')), ...(await lab.onDisk('node-2'))].sort()).toEqual(names);
          const ending = [...owners.items, ...volumes.items].filter(
            ({ metadata }) => metadata.deletionTimestamp,
          );
          expect(ending).toEqual([]);
        },
        timeoutMs,
      );
    },
    async expectNothingLeft(timeoutMs) {
      const nothing = async (): Promise<void> => {
        const left = await kubectl.run(['get', 'pv,localvolumes', '--output=name']);
        expect(left).toBe('');
        for (const node of ['node-1', 'node-2']) expect(await lab.onDisk(node)).toEqual([]);
      };
      await eventually('nothing is left', nothing, timeoutMs);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  return lab;
}

/** Its claims do not wait for a pod. */
export const IMMEDIATE = classOf('keelson-immediate', { volumeBindingMode: 'Immediate' });

/** A claim; `keelson` waits for its pod, `keelson-immediate` does not. */
export function claimOf(name: string, size = '64Mi', fields: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'keelson',
      resources: { requests: { storage: size } },
      ...fields,
    },
  };
}

/** A pod that sleeps with its claims in `/data`, `/data-1`, ... */
export function podOf(name: string, claims: readonly string[], fields: object = {}): object {
  const path = (index: number): string => (index === 0 ? '/data' : `/data-${index}`);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: BUSYBOX_IMAGE,
          command: ['sleep', '100000'],
          volumeMounts: claims.map((_, index) => ({ name: `v${index}`, mountPath: path(index) })),
        },
      ],
      volumes: claims.map((claimName, index) => ({
        name: `v${index}`,
        persistentVolumeClaim: { claimName },
      })),
      ...fields,
    },
  };
}

/** A class of ours. */
export function classOf(name: string, fields: object): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: DRIVER_NAME,
    allowVolumeExpansion: true,
    ...fields,
  };
}

/** What a node that is off has of Keelson on its disk, as when that was replaced. */
export async function eraseDisk(machineDirectory: string): Promise<void> {
  await rm(join(machineDirectory, 'disk/keelson'), { recursive: true, force: true });
}
