import { describe, expect, it } from 'vitest';
import type { Attachment } from '../network/attachment.ts';
import { cniConfig } from './cni-config.ts';
import { toCniError } from './cni-error.ts';
import { type CniCall, parseCniRequest, statedVersion } from './cni-request.ts';
import { checkPrevResult, formatAddResult } from './cni-result.ts';
import { CNI_VERSIONS } from './cni-version.ts';
import { Fault, type FaultKind, isFault } from '../fault.ts';

function call(env: Record<string, string>, config: unknown): CniCall {
  const environment = {
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '/n',
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/p',
    ...env,
  };
  return {
    environment: new Map(Object.entries(environment)),
    stdin:
      typeof config === 'string'
        ? config
        : JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...(config as object) }),
  };
}
function codeOf(work: () => unknown): number {
  try {
    work();
  } catch (error) {
    if (isFault(error)) return toCniError(error, '1.0.0').code;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a request', () => {
  it('carries what a runtime written in Go sends, in its spelling', () => {
    const request = parseCniRequest(
      call(
        { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_UID=u;K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=team-a' },
        {
          runtimeConfig: {
            portMappings: [
              { HostPort: 0, ContainerPort: 9000, Protocol: 'tcp', HostIP: '' },
              { HostPort: 8080, ContainerPort: 80, Protocol: 'TCP', HostIP: '' },
              { HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '0.0.0.0' },
              { HostPort: 53, ContainerPort: 53, Protocol: 'UDP', HostIP: '192.0.2.2' },
            ],
            bandwidth: { IngressRate: 1, IngressBurst: 4_294_967_295 },
          },
        },
      ),
    );
    expect(request).toMatchObject({
      command: 'ADD',
      pod: { namespace: 'team-a', name: 'web-0', uid: 'u' },
      portMappings: [
        { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
        { protocol: 'udp', hostPort: 53, containerPort: 53, hostIp: '192.0.2.2' },
      ],
      bandwidth: true,
      addresses: [],
    });
  });

  it.each([
    [
      'the capability',
      { runtimeConfig: { ips: ['10.0.0.9/24', 'FD00::09'] }, args: { cni: { ips: ['10.0.0.8'] } } },
      ['10.0.0.9', 'fd00::9'],
    ],
    ['the arguments of the configuration', { args: { cni: { ips: ['10.0.0.8'] } } }, ['10.0.0.8']],
    ['CNI_ARGS', {}, ['10.0.0.7']],
  ])('takes addresses from %s', (_, config, expected) => {
    expect(parseCniRequest(call({ CNI_ARGS: 'IP=10.0.0.7' }, config))).toMatchObject({ addresses: expected });
  });

  it.each([
    ['text that is not JSON', 6, {}, '{'],
    ['JSON that is not an object', 6, {}, '[]'],
    ['an unknown version', 1, {}, { cniVersion: '2.0.0' }],
    ['a version that is not a string', 1, {}, { cniVersion: 1 }],
    ['GC before 1.1.0', 1, { CNI_COMMAND: 'GC' }, {}],
    ['STATUS before 1.1.0', 1, { CNI_COMMAND: 'STATUS' }, {}],
    ['CHECK without prevResult', 7, { CNI_COMMAND: 'CHECK' }, {}],
    ['GC without its list', 7, { CNI_COMMAND: 'GC' }, { cniVersion: '1.1.0' }],
    [
      'GC with a list that is none',
      7,
      { CNI_COMMAND: 'GC' },
      { cniVersion: '1.1.0', 'cni.dev/valid-attachments': {} },
    ],
    ['no name', 7, {}, { name: undefined }],
    ['an argument without value', 4, { CNI_ARGS: 'K8S_POD_NAME' }, {}],
    ['a relative namespace', 4, { CNI_NETNS: 'ns' }, {}],
    ['a multicast MAC', 7, {}, { runtimeConfig: { mac: '01:00:00:00:00:01' } }],
    [
      'a port beyond 65535',
      7,
      {},
      { runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 1 }] } },
    ],
    [
      'an unknown protocol',
      2,
      {},
      { runtimeConfig: { portMappings: [{ hostPort: 7, containerPort: 1, protocol: 'icmp' }] } },
    ],
  ])('with %s is refused with code %i', (_, code, env, config) => {
    expect(codeOf(() => parseCniRequest(call(env, config)))).toBe(code);
  });

  it.each([
    [
      { 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] },
      [{ containerId: 'a', ifname: 'eth0' }],
    ],
    [
      { 'cni.dev/attachments': [{ containerID: 'a', ifname: 'eth0' }] },
      [{ containerId: 'a', ifname: 'eth0' }],
    ],
    [{ 'cni.dev/valid-attachments': null }, []],
  ])('of GC keeps %j', (list, valid) => {
    expect(parseCniRequest(call({ CNI_COMMAND: 'GC' }, { cniVersion: '1.1.0', ...list }))).toMatchObject({
      valid,
    });
  });

  it('DEL needs no namespace', () => {
    expect(parseCniRequest(call({ CNI_COMMAND: 'DEL', CNI_NETNS: '' }, {}))).toMatchObject({
      command: 'DEL',
    });
  });

  it('is answered in its own version even when it cannot be read', () => {
    expect(statedVersion('{"cniVersion":"0.4.0"}')).toBe('0.4.0');
    expect(statedVersion('{')).toBe('1.0.0');
  });
});

const attachment: Attachment = {
  containerId: 'c1',
  ifname: 'eth0',
  network: 'net',
  netns: '/n',
  netnsId: '4:1',
  hostLink: 'keel0',
  mac: '02:00:00:00:00:01',
  mtu: 1450,
  addresses: ['10.88.0.2'],
  portMappings: [],
};

describe('a result', () => {
  it.each(CNI_VERSIONS)('of %s states its version and passes its own check', (version) => {
    const result = formatAddResult(attachment, { version, dns: undefined, prevResult: undefined });
    expect(result['cniVersion']).toBe(version);
    if (version.startsWith('0.1') || version.startsWith('0.2')) return;
    expect(() => checkPrevResult(attachment, result)).not.toThrow();
  });

  it('fits the addresses of earlier plugins to its version', () => {
    const prevResult = {
      interfaces: [{ name: 'a' }],
      ips: [{ version: '4', address: '10.0.0.1/24', interface: 0 }],
    };
    const late = formatAddResult(attachment, { version: '1.0.0', dns: undefined, prevResult });
    expect((late['ips'] as object[])[0]).toEqual({ address: '10.0.0.1/24', interface: 0 });
    const early = formatAddResult(attachment, { version: '0.4.0', dns: undefined, prevResult });
    expect((early['ips'] as object[])[0]).toEqual({ version: '4', address: '10.0.0.1/24', interface: 0 });
  });

  it.each([
    ['another interface', { interfaces: [{ name: 'eth1', sandbox: '/n' }], ips: [] }],
    [
      'an interface of the node',
      { interfaces: [{ name: 'eth0' }], ips: [{ address: '10.88.0.2/32', interface: 0 }] },
    ],
    [
      'another address',
      { interfaces: [{ name: 'eth0', sandbox: '/n' }], ips: [{ address: '10.88.0.3/32', interface: 0 }] },
    ],
    [
      'the address of another interface',
      { interfaces: [{ name: 'eth0', sandbox: '/n' }, {}], ips: [{ address: '10.88.0.2/32', interface: 1 }] },
    ],
  ])('with %s fails CHECK', (_, prevResult) => {
    expect(() => checkPrevResult(attachment, prevResult)).toThrow(/prevResult/);
  });
});

describe('an error', () => {
  it.each<[FaultKind, number]>([
    ['invalid', 7],
    ['unsupported', 2],
    ['not-found', 3],
    ['exhausted', 11],
    ['busy', 11],
    ['unavailable', 11],
    ['conflict', 100],
    ['precondition', 101],
    ['bug', 199],
  ])('of kind %s has code %i', (kind, code) => {
    expect(toCniError(new Fault(kind, 'words'), '1.0.0')).toMatchObject({ cniVersion: '1.0.0', code });
  });

  it('shows fields and never a cause', () => {
    const fault = new Fault('exhausted', 'no address', { fields: { inUse: 3 }, cause: new Error('secret') });
    expect(toCniError(fault, '1.0.0')).toEqual({
      cniVersion: '1.0.0',
      code: 11,
      msg: 'no address',
      details: 'inUse=3',
    });
  });
});

describe('the configuration for runtimes', () => {
  it('gives old ones a version they know, and new ones a choice', () => {
    expect(cniConfig({ agentSocket: '/run/k/cni.sock' })).toEqual({
      cniVersion: '1.0.0',
      cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
      name: 'keelson',
      plugins: [
        {
          type: 'keelson-cni',
          agent: '/run/k/cni.sock',
          capabilities: { portMappings: true, ips: true, mac: true },
        },
      ],
    });
  });

  it.each([{ network: 'a/b' }, { agentSocket: 'run/cni.sock' }])('is not made of %j', (options) => {
    expect(() => cniConfig(options)).toThrow();
  });
});
