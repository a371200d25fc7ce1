import { expect, test } from 'vitest';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { customResourceDefinition } from '../../api/crd.ts';
import { KINDS } from '../../api/kinds.ts';
import { createCluster } from '../../controller/context/cluster.ts';
import type { StorageClass } from '../../kube/built-in.ts';
import { createLogger } from '../../runtime/logger.ts';
import { type ClusterCondition, checkCluster } from './checks.ts';
import type { Overview, VolumeRow } from './overview.ts';

const NOW = '2026-01-01T00:10:00Z';
const established = { conditions: [{ type: 'Established', status: 'True' }] };
const installed = KINDS.map((kind) => ({ ...customResourceDefinition(kind), status: established }));
const driver: ClusterCondition['driver'] = {
  spec: { attachRequired: false, storageCapacity: true, podInfoOnMount: true },
};
const local: StorageClass = {
  metadata: { name: 'local', resourceVersion: '1' },
  provisioner: 'keelson.dev',
};

function overview(change: Partial<Overview>, classes: readonly StorageClass[] = [local]): Overview {
  const cluster = createCluster({
    client: new FakeApiClient(),
    logger: createLogger({ level: 'silent', name: 'test' }),
  });
  for (const storageClass of classes) cluster.classes.remember(storageClass);
  const nodeObjects = { nodes: [], csiNodes: [], inventories: [], capacities: [], pods: [], agentPods: [] };
  return {
    cluster,
    nodeObjects,
    nodes: [],
    volumes: [],
    pending: [],
    systemPods: [],
    lease: undefined,
    ...change,
  };
}

function wrong(change: Partial<ClusterCondition>): readonly string[] {
  const findings = checkCluster({
    overview: overview({}),
    kinds: installed,
    driver,
    nodeLeases: [],
    access: [],
    nowMs: Date.parse(NOW),
    ...change,
  });
  return findings.filter(({ ok }) => !ok).map(({ check, found }) => `${check}: ${found}`);
}

const lost = { name: 'pvc-1', node: 'n1', mark: 'lost', message: 'empty disk' } as VolumeRow;
const lease = (renewTime: string) => ({
  spec: { holderIdentity: 'c_1', leaseDurationSeconds: 15, renewTime },
});

test('a cluster that has all passes every check', () => {
  expect(wrong({ overview: overview({ lease: lease('2026-01-01T00:09:55Z') }) })).toEqual([]);
});

test.each<[string, Partial<ClusterCondition>, string]>([
  ['a kind is missing', { kinds: installed.slice(1) }, 'CRDs: localvolumes.keelson.dev is missing'],
  [
    'a kind is not established',
    { kinds: installed.map((kind) => ({ ...kind, status: {} })) },
    'is not established',
  ],
  [
    'a kind is of another release',
    { kinds: installed.map((kind) => ({ ...kind, spec: { versions: [] } })) },
    'from another release',
  ],
  ['there is no CSIDriver', { driver: undefined }, 'CSIDriver: CSIDriver keelson.dev not found'],
  [
    'the CSIDriver wants an attachment',
    { driver: { spec: { storageCapacity: true, podInfoOnMount: true } } },
    'attachRequired is not false',
  ],
  [
    'an account lacks a right',
    { access: [{ account: 'keelson-agent', lacks: ['patch nodes'] }] },
    'keelson-agent cannot patch nodes',
  ],
  [
    'the leader is silent',
    { overview: overview({ lease: lease('2026-01-01T00:08:00Z') }) },
    'c_1 renewed its lease 120 s ago; it expires after 15 s',
  ],
  ['there is no class', { overview: overview({}, []) }, 'no StorageClass of Keelson'],
  [
    'a class has an unknown parameter',
    { overview: overview({}, [{ ...local, parameters: { pol: 'x' } }]) },
    'unknown parameter "pol"',
  ],
  [
    'a class names a pool that is nowhere',
    { overview: overview({}, [{ ...local, parameters: { pool: 'fast' } }]) },
    'requires pool fast',
  ],
  [
    'a class selects pools that are nowhere',
    { overview: overview({}, [{ ...local, parameters: { poolSelector: 'media=ssd' } }]) },
    'class local selects pools with media=ssd, which matches no pool',
  ],
  ['data is lost', { overview: overview({ volumes: [lost] }) }, 'pvc-1 on n1 is lost: empty disk'],
  [
    'a clock is wrong',
    {
      nodeLeases: [
        {
          metadata: { name: 'n1', managedFields: [{ time: '2026-01-01T00:00:00Z' }] },
          spec: { renewTime: '2026-01-01T00:02:00.000000Z' },
        },
      ],
    },
    'n1 is 120 s ahead',
  ],
])('%s', (_name, change, words) => {
  const found = wrong(change);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(words);
});
