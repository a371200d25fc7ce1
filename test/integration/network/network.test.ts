import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NetworkLab } from './network-lab.ts';

interface LinkJson {
  readonly ifname: string;
  readonly flags: string[];
  readonly ifalias?: string;
  readonly mtu: number;
  readonly address: string;
  readonly addr_info: { readonly local: string; readonly prefixlen: number; readonly scope: string }[];
}
interface RouteJson {
  readonly dst: string;
  readonly dev?: string;
  readonly gateway?: string;
}
interface NeighbourJson {
  readonly dst: string;
  readonly lladdr: string;
  readonly state: string[];
}

let lab: NetworkLab;
beforeEach(async () => {
  lab = new NetworkLab();
  await lab.startAgent();
});
afterEach(async () => {
  await lab[Symbol.asyncDispose]();
});

async function add(
  name: string,
  runtimeConfig: Record<string, unknown> = {},
): Promise<{ netns: string; address: string; address6: string }> {
  const netns = lab.addPod(name);
  const run = await lab.cni({ command: 'ADD', containerId: name, netns, config: { runtimeConfig } });
  expect(run.json).not.toHaveProperty('code');
  const [address = '', address6 = ''] = (run.json['ips'] as { address: string }[]).map(
    ({ address: cidr }) => cidr.split('/')[0] ?? '',
  );
  return { netns, address, address6 };
}

const links = (): string[] =>
  lab
    .ip<LinkJson>(lab.node, 'link')
    .map(({ ifname }) => ifname)
    .filter((name) => name.startsWith('keel'));
const nft = (): string => lab.exec(lab.node, 'nft list table inet keelson_network');
/** Three attempts: on a loaded machine a reply may take longer than two seconds. */
const ping = (netns: string, address: string): boolean =>
  [1, 2, 3].some(() => lab.succeeds(netns, `busybox ping -c 1 -W 2 ${address}`));
/** Prints to each client whom it sees. */
const WHO = (port: number, host = '::'): string =>
  `require('net').createServer((s)=>{s.on('error',()=>{});s.end(s.remoteAddress.replace('::ffff:','')+' '+s.localAddress.replace('::ffff:',''))}).listen(${port},'${host}',()=>console.log('up'))`;
const ask = (netns: string, address: string, port: number): string =>
  lab.exec(netns, `busybox timeout 3 busybox nc ${address} ${port} < /dev/null || true`).trim();

describe('a pod', () => {
  it('has what the ip tool shows: addresses, routes by the gateway, permanent neighbours, the uplink MTU', async () => {
    const { netns, address, address6 } = await add('c1');
    const [eth0] = lab.ip<LinkJson>(netns, 'addr show eth0');
    const global = eth0?.addr_info.filter(({ scope }) => scope === 'global');
    expect(global?.map(({ local, prefixlen }) => `${local}/${prefixlen}`)).toEqual([
      `${address}/32`,
      `${address6}/128`,
    ]);
    expect(eth0?.mtu).toBe(1450);
    expect(lab.ip<LinkJson>(netns, 'link show lo')[0]?.flags).toContain('UP');
    expect(lab.ip<RouteJson>(netns, 'route show default')[0]).toMatchObject({
      gateway: '169.254.1.1',
      dev: 'eth0',
    });
    expect(lab.ip<RouteJson>(netns, '-6 route show default')[0]).toMatchObject({
      gateway: 'fe80::ecee:eeff:feee:eeee',
    });
    const neighbours = lab.ip<NeighbourJson>(netns, 'neigh');
    expect(neighbours.map(({ dst, state }) => [dst, ...state]).sort()).toEqual([
      ['169.254.1.1', 'PERMANENT'],
      ['fe80::ecee:eeff:feee:eeee', 'PERMANENT'],
    ]);

    const [link = ''] = links();
    expect(link).toMatch(/^keel[0-9a-v]{11}$/);
    expect(lab.ip<LinkJson>(lab.node, `link show ${link}`)[0]?.ifalias).toBe('keelson container c1 eth0');
    expect(lab.ip<RouteJson>(lab.node, `route show dev ${link}`).map(({ dst }) => dst)).toEqual([address]);
    expect(lab.ip<NeighbourJson>(lab.node, `neigh show dev ${link}`).map(({ lladdr }) => lladdr)).toContain(
      eth0?.address,
    );
    const sysctl = (name: string): string => lab.exec(lab.node, `cat /proc/sys/net/${name}`).trim();
    expect(sysctl(`ipv4/conf/${link}/rp_filter`)).toBe('1');
    expect(sysctl(`ipv6/conf/${link}/accept_ra`)).toBe('0');
    expect(sysctl('ipv4/ip_forward')).toBe('1');
  });

  it('reaches its gateway, another pod, the node and the world, over both families at once', async () => {
    const one = await add('c1');
    const two = await add('c2');
    expect(ping(one.netns, '169.254.1.1')).toBe(true);
    expect(ping(one.netns, 'fe80::ecee:eeff:feee:eeee%eth0')).toBe(true);
    for (const target of [
      two.address,
      two.address6,
      '192.0.2.2',
      '2001:db8::2',
      '192.0.2.1',
      '2001:db8::1',
    ]) {
      expect([target, ping(one.netns, target)]).toEqual([target, true]);
    }
    expect(ping(lab.node, one.address)).toBe(true);
  });

  it('fails at once where no address of the pod range is in use', async () => {
    const { netns } = await add('c1');
    const output = lab.exec(netns, 'busybox traceroute -n -m 3 -q 1 -w 1 10.88.0.200 2>&1 || true');
    expect(output).toMatch(/!H/);
  });

  it('is masqueraded to other destinations, and not to pods and excluded destinations', async () => {
    await lab.endAgent({ kill: false });
    await lab.startAgent({ masqueradeExclusions: ['198.51.100.0/24'] });
    lab.exec(lab.outside, 'ip addr add 198.51.100.1/32 dev lo && ip route add 10.88.0.0/24 via 192.0.2.2');
    const one = await add('c1');
    const two = await add('c2');
    await lab.serve(lab.outside, WHO(9000));
    await lab.serve(two.netns, WHO(9000));
    expect(ask(one.netns, '192.0.2.1', 9000)).toBe('192.0.2.2 192.0.2.1');
    expect(ask(one.netns, '2001:db8::1', 9000)).toBe('2001:db8::2 2001:db8::1');
    expect(ask(one.netns, two.address, 9000)).toBe(`${one.address} ${two.address}`);
    expect(ask(one.netns, '198.51.100.1', 9000)).toBe(`${one.address} 198.51.100.1`);
  });

  it('cannot send from an address that is not its own', async () => {
    const { netns } = await add('c1');
    const two = await add('c2');
    lab.exec(netns, 'ip addr add 10.88.0.99/32 dev eth0 && ip addr add fd00:88::99/128 dev eth0 nodad');
    lab.exec(
      lab.node,
      'nft add table inet seen && nft add chain inet seen in "{ type filter hook prerouting priority 0; }" && nft add rule inet seen in ip saddr 10.88.0.99 counter && nft add rule inet seen in ip6 saddr fd00:88::99 counter',
    );
    lab.succeeds(netns, `busybox ping -c 1 -W 1 -I 10.88.0.99 ${two.address}`);
    lab.succeeds(netns, `busybox ping6 -c 1 -W 1 -I fd00:88::99 ${two.address6}`);
    expect(lab.exec(lab.node, 'nft list table inet seen').match(/packets 0 /g)).toHaveLength(2);
  });
});

it('a pod of a node without IPv6 range has no IPv6 on either side, and works', async () => {
  await lab.endAgent({ kill: false });
  await lab.startAgent({ ranges: ['10.88.0.0/24'], mtu: 1400 });
  const { netns, address } = await add('c1');
  const [link = ''] = links();
  for (const [where, name] of [
    [netns, 'eth0'],
    [lab.node, link],
  ] as const) {
    const [end] = lab.ip<LinkJson>(where, `addr show ${name}`);
    expect(end?.addr_info.every(({ local }) => !local.includes(':'))).toBe(true);
    expect(end?.mtu).toBe(1400);
    expect(lab.exec(where, `cat /proc/sys/net/ipv6/conf/${name}/disable_ipv6`).trim()).toBe('1');
  }
  expect(ping(netns, '169.254.1.1')).toBe(true);
  expect(ping(lab.node, address)).toBe(true);
});

it('a link that the kernel refuses half-way is undone on both sides, with the error of the kernel', async () => {
  const netns = lab.addPod('c1');
  const plan = {
    netns,
    host: { name: 'keeltest', index: 77_777, mac: 'ee:ee:ee:ee:ee:ee' },
    pod: { name: 'eth0', index: 777, mac: '02:00:00:00:00:01' },
    mtu: 1500,
    alias: 'test',
    // No host can have a multicast address: the pod's second one is refused.
    addresses: ['10.88.0.2', 'ff02::88'],
  };
  const module = join(import.meta.dirname, '../../../node-agent/linux/kernel/kernel.ts');
  const script = `import(${JSON.stringify(module)}).then(async ({ startKernel }) => {
    await using kernel = startKernel({ name: 'test' });
    await kernel.call('attachLink', ${JSON.stringify(plan)}).catch((error) => console.log(error.kind + ': ' + error.message));
  })`;
  const output = lab.evaluate(lab.node, script);
  expect(output).toMatch(/adding address ff02::88\/128: the kernel answered E\w+/);
  expect(lab.ip<LinkJson>(netns, 'link').map(({ ifname }) => ifname)).toEqual(['lo']);
  expect(links()).toEqual([]);
});

describe('a host port', () => {
  const portMappings = [{ HostPort: 8080, ContainerPort: 80, Protocol: 'TCP', HostIP: '' }];

  it('is reachable from outside, from the node, from another pod and from the pod itself', async () => {
    const pod = await add('c1', { portMappings });
    const other = await add('c2');
    await lab.serve(pod.netns, WHO(80));
    expect(ask(lab.outside, '192.0.2.2', 8080)).toBe(`192.0.2.1 ${pod.address}`);
    expect(ask(lab.outside, '2001:db8::2', 8080)).toBe(`2001:db8::1 ${pod.address6}`);
    expect(ask(lab.node, '192.0.2.2', 8080)).toBe(`192.0.2.2 ${pod.address}`);
    expect(ask(other.netns, '192.0.2.2', 8080)).toBe(`${other.address} ${pod.address}`);
    expect(ask(pod.netns, '192.0.2.2', 8080)).toBe(`192.0.2.2 ${pod.address}`);
  });

  it('does not catch traffic to that port of others', async () => {
    await add('c1', { portMappings });
    const { netns } = await add('c2');
    await lab.serve(lab.outside, WHO(8080));
    expect(ask(netns, '192.0.2.1', 8080)).toBe('192.0.2.2 192.0.2.1');
  });

  it('belongs to one pod, and is released with it', async () => {
    await add('c1', { portMappings });
    const netns = lab.addPod('c2');
    const config = { runtimeConfig: { portMappings } };
    const refused = await lab.cni({ command: 'ADD', containerId: 'c2', netns, config });
    expect(refused.json).toMatchObject({ code: 100, msg: 'host port 8080/tcp is in use by container c1' });
    expect(links()).toHaveLength(1);
    await lab.cni({ command: 'DEL', containerId: 'c1' });
    expect(nft()).not.toContain('8080');
    expect((await lab.cni({ command: 'ADD', containerId: 'c2', netns, config })).status).toBe(0);
  });

  it('is restored after the firewall was flushed', async () => {
    const { address } = await add('c1', { portMappings });
    await lab.ask('maintain');
    const whole = nft();
    expect(whole).toContain(`tcp . 8080 : ${address} . 80`);
    lab.exec(lab.node, 'nft flush ruleset');
    await lab.ask('maintain');
    expect(nft()).toBe(whole);
    lab.exec(lab.node, 'nft flush chain inet keelson_network masquerading');
    await lab.ask('maintain');
    expect(nft()).toBe(whole);
  });
});

describe('a restart of the agent', () => {
  it.each([{ kill: false }, { kill: true }])(
    'keeps pods connected and their addresses taken (%j)',
    async (how) => {
      const one = await add('c1', { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] });
      await lab.endAgent(how);
      expect(ping(one.netns, '169.254.1.1')).toBe(true);
      expect(nft()).toContain('8080');
      await lab.startAgent();
      const two = await add('c2');
      expect(two.address).not.toBe(one.address);
      expect(ping(one.netns, two.address)).toBe(true);
      expect((await lab.attachments()).map(({ containerId }) => containerId).sort()).toEqual(['c1', 'c2']);
    },
  );

  it('keeps a released address reserved for its remaining time', async () => {
    const { address } = await add('c1');
    await lab.cni({ command: 'DEL', containerId: 'c1' });
    await lab.endAgent({ kill: true });
    await lab.startAgent();
    expect((await add('c2')).address).not.toBe(address);
  });

  it('never assigns the address of a pod whose record is corrupt', async () => {
    const { netns, address } = await add('c1');
    await lab.endAgent({ kill: true });
    const records = join(lab.directory, 'run/network/attachments');
    for (const file of readdirSync(records)) writeFileSync(join(records, file), '{"version":1,');
    await lab.startAgent();
    expect(readdirSync(join(lab.directory, 'run/network/quarantine'))).toHaveLength(1);
    expect((await add('c2')).address).not.toBe(address);
    expect(ping(netns, '169.254.1.1')).toBe(true);
  });

  it('removes the records of an earlier boot', async () => {
    await add('c1');
    await lab.endAgent({ kill: true });
    writeFileSync(join(lab.directory, 'run/network/boot-id'), 'another boot\n');
    await lab.startAgent();
    expect(await lab.attachments()).toEqual([]);
    expect(readFileSync(join(lab.directory, 'run/network/boot-id'), 'utf8')).toBe(
      readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'),
    );
  });
});

describe('leaks', () => {
  it('are collected after two rounds find them: a pod whose namespace was deleted, a link without record', async () => {
    const { netns } = await add('c1');
    await add('c2');
    lab.removePod(netns);
    lab.exec(lab.node, 'ip link add keelstray type veth peer name stray');
    await lab.ask('maintain');
    expect(await lab.attachments()).toHaveLength(2);
    expect(links()).toContain('keelstray');
    await lab.ask('maintain');
    expect((await lab.attachments()).map(({ containerId }) => containerId)).toEqual(['c2']);
    expect(links()).toHaveLength(1);
  });

  it('do not result from 200 pods that start and end at the same time', { timeout: 180_000 }, async () => {
    const names = Array.from({ length: 200 }, (_, i) => `c${i}`);
    const pods = names.map((name) => ({ name, netns: lab.addPod(name) }));
    const config = (i: number): Record<string, unknown> =>
      i % 10 === 0 ? { runtimeConfig: { portMappings: [{ hostPort: 10_000 + i, containerPort: 80 }] } } : {};
    const added = await Promise.all(
      pods.map(({ name, netns }, i) =>
        lab.cni({ command: 'ADD', containerId: name, netns, config: config(i) }),
      ),
    );
    const addresses = added.flatMap(({ json }) =>
      (json['ips'] as { address: string }[]).map((ip) => ip.address),
    );
    expect(new Set(addresses).size).toBe(400);
    expect(links()).toHaveLength(200);
    const removed = await Promise.all(
      pods.map(({ name, netns }) => lab.cni({ command: 'DEL', containerId: name, netns })),
    );
    expect(removed.filter(({ status }) => status !== 0)).toEqual([]);
    expect(links()).toEqual([]);
    expect(nft()).not.toContain(' . 80');
    expect(await lab.ask('status')).toMatchObject({ attachments: 0, inUse: [0, 0] });
    expect(readdirSync(join(lab.directory, 'run/network/attachments'))).toEqual([]);
  });
});

it('removeNetwork leaves nothing on the node', async () => {
  await add('c1', { portMappings: [{ hostPort: 8080, containerPort: 80 }] });
  await lab.ask('uninstall');
  expect(links()).toEqual([]);
  expect(lab.exec(lab.node, 'nft list tables').trim()).toBe('');
  expect(lab.ip<RouteJson>(lab.node, 'route').filter(({ dst }) => dst.startsWith('10.88'))).toEqual([]);
  expect(lab.ip<RouteJson>(lab.node, '-6 route').filter(({ dst }) => dst.startsWith('fd00'))).toEqual([]);
  expect(readdirSync(join(lab.directory, 'run'))).not.toContain('network');
});
