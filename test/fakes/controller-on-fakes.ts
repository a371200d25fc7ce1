import { LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { runController } from '../../src/controller/controller.ts';
import { createInlineEvaluator } from '../../src/controller/labels/rule-evaluator.ts';
import { createControllerMetrics } from '../../src/controller/context/metrics.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../src/core/volumes/driver.ts';
import { volumeNameOf } from '../../src/core/claims/provision.ts';
import {
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolumeClaim,
  STORAGE_CLASSES,
} from '../../src/kube/built-in.ts';
import type { EventNote } from '../../src/kube/event-recorder.ts';
import type { KubeObject } from '../../src/kube/resource.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { createMetrics } from '../../src/runtime/metrics.ts';
import { FakeApiClient } from './fake-api-client.ts';
import { FakeClock } from './fake-clock.ts';

/** The whole controller on an API without a network; the test plays agents, binder and people. */
export interface ControllerOnFakes extends AsyncDisposable {
  readonly client: FakeApiClient;
  readonly clock: FakeClock;
  /** What was recorded, as `Kind name Reason: note`. */
  readonly events: readonly string[];
  /** Lets the controller come to rest. */
  settle(ms?: number): Promise<void>;
  addNode(name: string, freeGib?: number): Promise<void>;
  /** A claim that the binder has asked us about. */
  addClaim(name: string, change?: Partial<PersistentVolumeClaim>): Promise<string>;
  /** The agent's answer. */
  answer(volume: string, status: LocalVolume['status']): Promise<void>;
  /** The agent has removed the data of a volume that is being deleted. */
  cleanUp(volume: string): Promise<void>;
  /** A claim bound to a volume of 2Gi on `node`; the name of that. */
  addBound(claim: string, node: string): Promise<string>;
  volume(name: string): Promise<LocalVolume>;
  claim(name: string): Promise<PersistentVolumeClaim>;
}

export const SPACE = 'team';

/** Starts it, with the classes `local`, `at-once` and `kept`. */
export async function startControllerOnFakes(): Promise<ControllerOnFakes> {
  const client = new FakeApiClient();
  const clock = new FakeClock();
  const events: string[] = [];
  const record = (
    resource: { kind: string },
    { metadata }: KubeObject,
    { reason, note }: EventNote,
  ): void => {
    events.push(`${resource.kind} ${metadata?.name ?? ''} ${reason}: ${note}`);
  };
  const waiting = { volumeBindingMode: 'WaitForFirstConsumer' };
  for (const [name, fields] of [
    ['local', waiting],
    ['at-once', {}],
    ['kept', { reclaimPolicy: 'Retain' }],
  ] as const) {
    await client.create(STORAGE_CLASSES, { metadata: { name }, provisioner: DRIVER_NAME, ...fields });
  }
  const end = new AbortController();
  const running = runController(
    { namespace: 'keelson-system' },
    {
      client,
      clock,
      evaluator: createInlineEvaluator(),
      logger: silentLogger,
      metrics: createControllerMetrics(createMetrics({ process: 'test' })),
      events: { record, run: async () => await Promise.resolve() } as never,
    },
    end.signal,
  );
  const settle = async (ms = 1_000): Promise<void> => await clock.advance(ms);
  await settle();
  const get = async (name: string): Promise<LocalVolume> => await client.get(LOCAL_VOLUMES, { name });
  const lab: ControllerOnFakes = {
    ...{ client, clock, events, settle },
    async addNode(name, freeGib = 10) {
      await client.create(NODES, { metadata: { name, labels: { [TOPOLOGY_KEY]: name } } });
      const size = `${freeGib}Gi`;
      const figures = { capacity: size, allocated: '0', volumes: 0 };
      const pools = [
        { ...figures, name: 'default', backend: 'btrfs' as const, ready: true, largestVolume: size },
      ];
      await client.create(NODE_INVENTORIES, { metadata: { name } });
      await client.patch(
        NODE_INVENTORIES,
        { name },
        { merge: { status: { storage: { ...figures, pools } } } },
        { subresource: 'status' },
      );
      await settle();
    },
    async addClaim(name, change = {}) {
      const made = await client.create(PERSISTENT_VOLUME_CLAIMS, {
        metadata: {
          name,
          namespace: SPACE,
          annotations: { 'volume.kubernetes.io/storage-provisioner': DRIVER_NAME },
          ...change.metadata,
        },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: 'at-once',
          resources: { requests: { storage: '2Gi' } },
          ...change.spec,
        },
      });
      await settle();
      return volumeNameOf(made.metadata?.uid ?? '');
    },
    async answer(name, status) {
      const { metadata } = await get(name);
      const merge = { status: { observedGeneration: metadata?.generation, ...status } };
      await client.patch(LOCAL_VOLUMES, { name }, { merge }, { subresource: 'status' });
      await settle();
    },
    async cleanUp(name) {
      await client.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [] } } });
      await settle();
    },
    async addBound(claim, node) {
      const annotations = {
        'volume.kubernetes.io/storage-provisioner': DRIVER_NAME,
        'volume.kubernetes.io/selected-node': node,
      };
      const volume = await lab.addClaim(claim, {
        metadata: { name: claim, namespace: SPACE, annotations },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: 'local',
          resources: { requests: { storage: '2Gi' } },
        },
      });
      await lab.answer(volume, { phase: 'Ready', capacity: '2Gi', volumeHandle: `vol-${claim}` });
      const where = { name: claim, namespace: SPACE };
      await client.patch(
        PERSISTENT_VOLUMES,
        { name: volume },
        { merge: { status: { phase: 'Bound' } } },
        { subresource: 'status' },
      );
      await client.patch(PERSISTENT_VOLUME_CLAIMS, where, { merge: { spec: { volumeName: volume } } });
      const status = { phase: 'Bound', capacity: { storage: '2Gi' } };
      await client.patch(PERSISTENT_VOLUME_CLAIMS, where, { merge: { status } }, { subresource: 'status' });
      await settle();
      return volume;
    },
    volume: get,
    claim: async (name) => await client.get(PERSISTENT_VOLUME_CLAIMS, { name, namespace: SPACE }),
    async [Symbol.asyncDispose]() {
      end.abort(new DOMException('stop', 'AbortError'));
      await running;
    },
  };
  return lab;
}
