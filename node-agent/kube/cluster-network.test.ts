import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NETWORK_POOLS } from '../../src/api/network-pool.ts';
import type { ClusterNetwork } from '../../src/core/network/cluster-network.ts';
import { Fault } from '../../src/core/fault.ts';
import { type Node, NODES } from '../../src/kube/built-in.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { ClusterNetworkFollower, readClusterNetwork } from './cluster-network.ts';

let stateDir: string;
let client: FakeApiClient;
let clock: FakeClock;
let configured: ClusterNetwork[];
let refusal: Fault | undefined;
let stop: (() => Promise<void>) | undefined;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'keelson-cluster-network-'));
  client = new FakeApiClient();
  clock = new FakeClock();
  configured = [];
  refusal = undefined;
});
afterEach(async () => {
  await stop?.();
  stop = undefined;
  await rm(stateDir, { recursive: true });
});

const createNode = (name: string, podCIDR?: string): Promise<Node> =>
  client.create(NODES, {
    metadata: { name },
    spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] },
    status: {
      addresses: [
        { type: 'Hostname', address: name },
        { type: 'InternalIP', address: `192.0.2.${name.charCodeAt(0)}` },
      ],
    },
  });
const written = (): Promise<ClusterNetwork | undefined> =>
  readClusterNetwork(stateDir, { logger: silentLogger });

async function start(ranges?: readonly string[]): Promise<void> {
  const network = {
    async configure(wanted: ClusterNetwork): Promise<void> {
      if (refusal !== undefined) throw refusal;
      configured.push(wanted);
    },
  };
  const follower = new ClusterNetworkFollower(
    { nodeName: 'a', stateDir, ranges },
    { client, network, logger: silentLogger, clock },
    await written(),
  );
  const end = new AbortController();
  const running = follower.run(end.signal);
  stop = async () => {
    end.abort(new DOMException('stop', 'AbortError'));
    await running;
  };
}
const exclusions = async (): Promise<readonly string[] | undefined> => {
  await clock.advance(3_000);
  return configured.at(-1)?.exclusions;
};
/** Until as much was put in force as a test expects: what is written to disk takes real time. */
const until = (count: number): Promise<unknown> =>
  expect
    .poll(
      async () => {
        await clock.advance(3_000);
        return configured.length;
      },
      { interval: 5 },
    )
    .toBe(count);

test('the node gets the range of its Node when it comes, and keeps it without an API server', async () => {
  await createNode('a');
  await start();
  await until(1);
  expect(configured[0]).toEqual({ ranges: [], peers: [], exclusions: [] });
  await client.patch(NODES, { name: 'a' }, { merge: { spec: { podCIDRs: ['10.0.1.0/24'] } } });
  await until(2);
  expect(await written()).toEqual({ ranges: ['10.0.1.0/24'], peers: [], exclusions: [] });
  await stop?.();
  client.failures.push({ verb: 'list', error: new Fault('unavailable', 'away') });
  await start();
  await clock.advance(10_000);
  expect(configured).toHaveLength(2);
  expect((await written())?.ranges).toEqual(['10.0.1.0/24']);
});

test('peers follow the Nodes; heartbeats put nothing in force and write nothing', async () => {
  await createNode('a', '10.0.1.0/24');
  await createNode('b', '10.0.2.0/24');
  await start();
  await until(1);
  expect(configured[0]?.peers).toEqual([{ name: 'b', ranges: ['10.0.2.0/24'], addresses: ['192.0.2.98'] }]);
  await client.patch(NODES, { name: 'b' }, { merge: { metadata: { labels: { beat: '1' } } } });
  await clock.advance(60_000);
  expect(configured).toHaveLength(1);
  await client.delete(NODES, { name: 'b' });
  await until(2);
  expect(configured[1]?.peers).toEqual([]);
  expect(client.calls.filter((call) => /^(patch|create|update|delete)/.test(call))).toHaveLength(4);
});

test('exceptions from masquerading follow the NetworkPools that are for the node', async () => {
  await createNode('a', '10.0.1.0/24');
  const pool = (name: string, cidr: string, labels?: Record<string, string>): Promise<unknown> =>
    client.create(NETWORK_POOLS, {
      metadata: { name },
      spec: {
        ...(labels === undefined ? {} : { nodeSelector: { matchLabels: labels } }),
        masqueradeExclusions: [cidr],
      },
    });
  await pool('all', '192.168.0.0/16');
  await pool('few', '172.16.0.0/12', { rack: '1' });
  await start();
  await expect.poll(exclusions).toEqual(['192.168.0.0/16']);
  await client.patch(NODES, { name: 'a' }, { merge: { metadata: { labels: { rack: '1' } } } });
  await client.delete(NETWORK_POOLS, { name: 'all' });
  await expect.poll(exclusions).toEqual(['172.16.0.0/12']);
});

test('a network that refuses is asked again', async () => {
  await createNode('a', '10.0.1.0/24');
  refusal = new Fault('unavailable', 'nft failed');
  await start();
  await clock.advance(10_000);
  await expect.poll(async () => (await written())?.ranges).toEqual(['10.0.1.0/24']);
  refusal = undefined;
  await until(1);
});

test('configured ranges win over those of the Node', async () => {
  await createNode('a', '10.0.1.0/24');
  await start(['10.7.0.0/24']);
  await until(1);
  expect(configured[0]?.ranges).toEqual(['10.7.0.0/24']);
});

test('a file that cannot be read counts as none', async () => {
  await createNode('a', '10.0.1.0/24');
  await start();
  await until(1);
  await stop?.();
  await writeFile(join(stateDir, 'network', 'cluster.json'), '{');
  expect(await written()).toBeUndefined();
  await start();
  await until(2);
  expect((await written())?.ranges).toEqual(['10.0.1.0/24']);
  expect(await readdir(join(stateDir, 'network'))).toEqual(['cluster.json']);
});
