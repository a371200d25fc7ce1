import { expect, test } from 'vitest';
import { parseAgentConfig } from './agent-config.ts';
import { isFault } from '../fault.ts';

function parse(text: string, overrides = {}) {
  return parseAgentConfig({ text, document: 'agent.yaml', overrides, hostname: 'host-1' });
}

function faultOf(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (isFault(error, 'invalid')) return error.message;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

test('an empty file is the embedded default: one btrfs pool in a sparse file under the state directory', () => {
  const config = parse('', { stateDir: '/tmp/state' });
  expect(config.nodeName).toBe('host-1');
  expect(config.metricsAddress).toBe('127.0.0.1:9810');
  expect(config.network.ranges).toEqual(['10.88.0.0/24']);
  expect(config.pools).toEqual([
    {
      name: 'default',
      backend: 'btrfs',
      labels: {},
      source: { kind: 'file', file: '/tmp/state/pools/default.img', sizeBytes: 20n * 2n ** 30n },
      quota: 'auto',
      reserve: { kind: 'bytes', bytes: 0n },
      overcommitPercent: 100,
      enforce: true,
    },
  ]);
});

test('flags override the file, field by field', () => {
  const config = parse(
    'nodeName: from-file\nlog: {level: warn}\nnetwork: {name: lab, ranges: [10.1.0.0/24]}',
    {
      nodeName: 'from-flag',
      podRanges: ['10.2.0.0/24'],
    },
  );
  expect(config).toMatchObject({
    nodeName: 'from-flag',
    logLevel: 'warn',
    network: { name: 'lab', ranges: ['10.2.0.0/24'] },
  });
});

test('a cluster is joined only where the file says so, by a kubeconfig or as the pod that the agent is', () => {
  expect(parse('')).not.toHaveProperty('kubernetes');
  expect(parse('kubernetes: {}').kubernetes).toEqual({ kubeconfig: undefined });
  expect(parse('kubernetes: {kubeconfig: /etc/kubeconfig}').kubernetes).toEqual({
    kubeconfig: '/etc/kubeconfig',
  });
  expect(faultOf('kubernetes: {kubeconfig: relative}')).toMatch(/kubernetes\.kubeconfig/);
});

test('both kinds of pool source are read, sizes with their unit', () => {
  const { pools } = parse(`
pools:
  - {name: fast, backend: btrfs, source: {path: /mnt/fast}}
  - {name: slow, backend: btrfs, source: {file: /var/pool.img, size: 1.5Gi}, quota: classic}
`);
  expect(pools.map((pool) => pool.source)).toEqual([
    { kind: 'path', path: '/mnt/fast' },
    { kind: 'file', file: '/var/pool.img', sizeBytes: 1_610_612_736n },
  ]);
});

test('pools have labels, as Kubernetes has them', () => {
  const { pools } = parse(
    'pools: [{name: a, backend: btrfs, source: {path: /a}, labels: {media: ssd, example.com/tier: "1"}}]',
  );
  expect(pools[0]?.labels).toEqual({ media: 'ssd', 'example.com/tier': '1' });
  const message = faultOf(
    'pools: [{name: a, backend: btrfs, source: {path: /a}, labels: {tier: 1}}, {name: b, backend: btrfs, source: {path: /b}, labels: {-a: b, media: "s s"}}]',
  );
  expect(message).toContain('pools[0].labels.tier: must be a text; put numbers and booleans in quotes');
  expect(message).toContain('pools[1].labels.-a: must be named like media');
  expect(message).toContain('pools[1].labels.media: found "s s", expected letters');
});

test('every fault is reported at once, each with the path of its field', () => {
  const message = faultOf(`
nodeName: Bad_Name
stateDir: relative
logg: {}
pools:
  - {name: a, backend: zfs, source: {file: /x, size: many}}
  - {name: b, backend: btrfs, source: {file: /x}, color: red}
network: {mtu: 20}
`);
  for (const path of [
    'nodeName:',
    'stateDir:',
    'logg: unknown field',
    'pools[0].backend: must be btrfs',
    'pools[0].source.size: found "many"',
    'pools[1].source',
    'pools[1].color: unknown field',
    'network.mtu:',
  ]) {
    expect(message).toContain(path);
  }
});

test.each([
  ['a: [', /is not valid YAML/],
  ['- 1', /must be a YAML mapping, found a list/],
  [
    'pools: [{name: a, backend: btrfs, source: {path: /a}}, {name: a, backend: btrfs, source: {path: /b}}]',
    /appears twice/,
  ],
  ['pools: [{name: a, backend: btrfs, source: {path: /a/../etc}}]', /must not contain "\.\."/],
])('%j is refused with a message that says why', (text, reason) => {
  expect(faultOf(text)).toMatch(reason);
});

test('kubelet applies fsGroup unless the file says that the agent does', () => {
  expect(parse('').volumeMountGroup).toBe(false);
  expect(parse('csi: {volumeMountGroup: true}')).toMatchObject({
    volumeMountGroup: true,
    controllerPublish: false,
  });
  expect(faultOf('csi: {volumeMountGroup: 2000}')).toMatch(/csi\.volumeMountGroup/);
});

test('orphans are kept for good unless the file says for how long', () => {
  expect(parse('').orphanGraceMs).toBeUndefined();
  expect(parse('orphans: {graceSeconds: 604800}').orphanGraceMs).toBe(604_800_000);
  expect(faultOf('orphans: {graceSeconds: 5}')).toMatch(/orphans\.graceSeconds: must be 60 or more/);
  expect(faultOf('orphans: {graceSeconds: 7d}')).toMatch(/orphans\.graceSeconds/);
});
