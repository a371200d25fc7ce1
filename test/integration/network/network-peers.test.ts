import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NetworkStatus } from '../../../node-agent/network/network.ts';
import type { NetworkSettings } from '../../../node-agent/network/network.ts';
import { NetworkLab } from './network-lab.ts';

interface RouteJson {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly metric?: number;
}

const OWN = ['10.88.0.0/24', 'fd00:88::/64'];
const PEER = {
  name: 'b',
  ranges: ['10.88.1.0/24', 'fd00:89::/64'],
  addresses: ['192.0.2.1', '2001:db8::1'],
};
const settings = (rest: Partial<NetworkSettings> = {}): NetworkSettings => ({
  ranges: OWN,
  peers: [PEER],
  exclusions: [],
  ...rest,
});

/** The other node is what the lab calls outside: it has the pod 10.88.1.5. */
let lab: NetworkLab;
beforeEach(async () => {
  lab = new NetworkLab();
  lab.exec(
    lab.outside,
    'ip addr add 10.88.1.5/32 dev lo && ip addr add fd00:89::5/128 dev lo nodad && ip route add 10.88.0.0/24 via 192.0.2.2 && ip -6 route add fd00:88::/64 via 2001:db8::2',
  );
  await lab.startAgent({ ranges: [], verifyRoutesEveryMs: 50 });
});
afterEach(async () => {
  await lab[Symbol.asyncDispose]();
});

const routes = (): [string, string | undefined][] =>
  ['-4', '-6']
    .flatMap((family) => lab.ip<RouteJson>(lab.node, `${family} route show proto 76`))
    .map(({ dst, gateway }) => [dst, gateway]);
const WAYS = [
  ['10.88.1.0/24', '192.0.2.1'],
  ['fd00:89::/64', '2001:db8::1'],
];
const configure = (rest: Partial<NetworkSettings> = {}): Promise<NetworkStatus> =>
  lab.ask<NetworkStatus>({ configure: settings(rest) });
const reports = (): Promise<Pick<NetworkStatus, 'strays' | 'unreachable'>[]> => lab.ask('reports');
const add = (name: string) =>
  lab.cni({ command: 'ADD', containerId: name, netns: lab.addPod(name), version: '1.1.0' });
const addressOf = ({ json }: { readonly json: Record<string, unknown> }): string =>
  (json['ips'] as { address: string }[])[0]?.address ?? '';

describe('a node that gets its ranges and its peers', () => {
  it('refuses pods until it knows its ranges, with the reason', async () => {
    const refused = await add('early');
    expect(refused.json).toMatchObject({
      code: 11,
      msg: expect.stringContaining('no pod address range') as string,
    });
    const status = await lab.cni({ command: 'STATUS', containerId: '', version: '1.1.0' });
    expect(status.json).toMatchObject({ code: 50 });
    await configure();
    expect(addressOf(await add('c1'))).toBe('10.88.0.1/32');
  });

  it('reaches pods of its peer, which see the address of the pod, in both families', async () => {
    await configure();
    expect(routes()).toEqual(WAYS);
    await add('c1');
    const netns = `${lab.directory}/pod-c1`;
    const who =
      "require('net').createServer((s)=>s.end(s.remoteAddress.replace('::ffff:',''))).listen(80,'::',()=>console.log('up'))";
    await lab.serve(lab.outside, who);
    const ask = (address: string): string =>
      lab.exec(netns, `busybox timeout 3 busybox nc ${address} 80 < /dev/null`).trim();
    expect([ask('10.88.1.5'), ask('fd00:89::5')]).toEqual(['10.88.0.1', 'fd00:88::1']);
    // Destinations other than pods see the node.
    expect(ask('192.0.2.1')).toBe('192.0.2.2');
    await configure({ exclusions: ['192.0.2.1/32'] });
    expect(ask('192.0.2.1')).toBe('10.88.0.1');
  });

  it('restores its routes after a deletion, and after its link was down', async () => {
    await configure();
    lab.exec(lab.node, 'ip route del 10.88.1.0/24 proto 76');
    await lab.until(() => routes().length === 2);
    lab.exec(lab.node, 'ip link set up0 down');
    await lab.until(
      async () => (await lab.ask<NetworkStatus>({ configure: settings() })).unreachable.length === 2,
    );
    expect(routes()).toEqual([]);
    lab.exec(
      lab.node,
      'ip link set up0 up && ip addr replace 2001:db8::2/64 dev up0 nodad && ip route replace default via 192.0.2.1',
    );
    await lab.until(() => routes().length === 2);
    expect(routes()).toEqual(WAYS);
  });

  it('follows a peer that changes or is deleted, and does not change routes of others', async () => {
    lab.exec(
      lab.node,
      'ip route add 10.88.7.0/24 via 192.0.2.77 && ip route add 10.88.1.0/24 via 192.0.2.66',
    );
    await configure();
    await configure({ peers: [{ ...PEER, addresses: ['192.0.2.9', '2001:db8::9'] }] });
    expect(routes()).toEqual([
      ['10.88.1.0/24', '192.0.2.9'],
      ['fd00:89::/64', '2001:db8::9'],
    ]);
    await configure({ peers: [] });
    expect(routes()).toEqual([]);
    const others = lab.ip<RouteJson>(lab.node, 'route').filter(({ dst }) => dst.startsWith('10.88.'));
    expect(others.map(({ dst }) => dst).sort()).toEqual(
      expect.arrayContaining(['10.88.1.0/24', '10.88.7.0/24']),
    );
  });

  it('reports a peer that is on none of its networks', async () => {
    const far = { name: 'far', ranges: ['10.88.9.0/24'], addresses: ['203.0.113.5'] };
    const { unreachable } = await configure({ peers: [PEER, far] });
    expect(unreachable).toEqual([
      expect.stringMatching(/node far: its address 203.0.113.5 is not on any network/),
    ]);
    expect(routes()).toEqual(WAYS);
    await configure();
    expect((await reports()).map((status) => status.unreachable)).toEqual([[], unreachable, []]);
  });

  it('gives new pods addresses of new ranges, while old pods keep theirs and their network', async () => {
    await configure();
    const old = await add('c1');
    const { strays } = await configure({ ranges: ['10.88.5.0/24'] });
    expect(strays).toEqual(['container c1']);
    expect(addressOf(await add('c2'))).toBe('10.88.5.1/32');
    const netns = `${lab.directory}/pod-c1`;
    expect(addressOf(old)).toBe('10.88.0.1/32');
    expect(lab.succeeds(netns, 'busybox ping -c 1 -W 2 10.88.5.1')).toBe(true);
    expect(lab.succeeds(netns, 'busybox ping -c 1 -W 2 192.0.2.1')).toBe(true);
    const unreachable = lab.ip<RouteJson>(lab.node, 'route show type unreachable').map(({ dst }) => dst);
    expect(unreachable).toEqual(['10.88.5.0/24']);
    const deleted = await lab.cni({ command: 'DEL', containerId: 'c1', netns });
    expect(deleted.status).toBe(0);
    expect((await configure({ ranges: ['10.88.5.0/24'] })).strays).toEqual([]);
    // The publisher was notified at once, and once: the pods of the new range are not strays.
    await lab.cni({ command: 'DEL', containerId: 'c2', netns: `${lab.directory}/pod-c2` });
    expect((await reports()).map(({ strays }) => strays)).toEqual([[], ['container c1'], []]);
  });
});
