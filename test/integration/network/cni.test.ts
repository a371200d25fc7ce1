import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, renameSync, statSync, unlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CniRun, NetworkLab, runPlugin } from './network-lab.ts';

let lab: NetworkLab;
beforeEach(() => {
  lab = new NetworkLab();
});
afterEach(async () => {
  await lab[Symbol.asyncDispose]();
});

const links = (): string[] =>
  lab
    .ip<{ ifname: string }>(lab.node, 'link')
    .map(({ ifname }) => ifname)
    .filter((name) => name.startsWith('keel'));
const interfaces = (netns: string): string[] =>
  lab.ip<{ ifname: string }>(netns, 'link').map(({ ifname }) => ifname);
const firstAddress = (run: CniRun): string => (run.json['ips'] as { address: string }[])[0]?.address ?? '';
const queue = (): string[] => readdirSync(`${lab.socketPath}.queue`);
const STATUS = { command: 'STATUS', containerId: '', version: '1.1.0' };

describe('with an agent', () => {
  beforeEach(async () => {
    await lab.startAgent();
  });

  describe('ADD', () => {
    it.each(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])(
      'returns the result format of %s',
      async (version) => {
        const netns = lab.addPod('c1');
        const { json } = await lab.cni({ command: 'ADD', containerId: 'c1', netns, version });
        const [link] = links();
        const early = version.startsWith('0');
        const mtu = version === '1.1.0' ? { mtu: 1450 } : {};
        expect(json).toEqual({
          cniVersion: version,
          interfaces: [
            { name: link, mac: 'ee:ee:ee:ee:ee:ee', ...mtu },
            {
              name: 'eth0',
              mac: expect.stringMatching(/^0[26ae]|^[0-9a-f][26ae]:/) as string,
              sandbox: netns,
              ...mtu,
            },
          ],
          ips: [
            {
              address: '10.88.0.1/32',
              gateway: '169.254.1.1',
              interface: 1,
              ...(early ? { version: '4' } : {}),
            },
            {
              address: 'fd00:88::1/128',
              gateway: 'fe80::ecee:eeff:feee:eeee',
              interface: 1,
              ...(early ? { version: '6' } : {}),
            },
          ],
          routes: [
            { dst: '0.0.0.0/0', gw: '169.254.1.1' },
            { dst: '::/0', gw: 'fe80::ecee:eeff:feee:eeee' },
          ],
          dns: {},
        });
      },
    );

    it.each(['0.1.0', '0.2.0'])('returns the first result format for %s', async (version) => {
      const netns = lab.addPod('c1');
      const { json } = await lab.cni({ command: 'ADD', containerId: 'c1', netns, version });
      expect(json).toMatchObject({
        cniVersion: version,
        ip4: { ip: '10.88.0.1/32', gateway: '169.254.1.1' },
      });
      expect(json).not.toHaveProperty('interfaces');
    });

    it('adds its interface to prevResult', async () => {
      const netns = lab.addPod('c1');
      const prevResult = {
        cniVersion: '1.0.0',
        interfaces: [{ name: 'net9', mac: '02:00:00:00:00:09', sandbox: netns }],
        ips: [{ address: '172.31.0.9/24', interface: 0 }],
        routes: [{ dst: '172.16.0.0/12' }],
        dns: { nameservers: ['10.0.0.53'] },
      };
      const { json } = await lab.cni({ command: 'ADD', containerId: 'c1', netns, config: { prevResult } });
      expect((json['interfaces'] as { name: string }[]).map(({ name }) => name)).toEqual([
        'net9',
        links()[0],
        'eth0',
      ]);
      expect((json['ips'] as { interface: number }[]).map((ip) => ip.interface)).toEqual([0, 2, 2]);
      expect(json['routes']).toHaveLength(3);
      expect(json['dns']).toEqual({ nameservers: ['10.0.0.53'] });
    });

    it('gives requested addresses and MAC', async () => {
      const one = await lab.cni({
        command: 'ADD',
        containerId: 'c1',
        netns: lab.addPod('c1'),
        config: { runtimeConfig: { ips: ['10.88.0.77/24', 'fd00:88::77'], mac: '02:AA:00:00:00:01' } },
      });
      expect(one.json['ips']).toMatchObject([{ address: '10.88.0.77/32' }, { address: 'fd00:88::77/128' }]);
      expect((one.json['interfaces'] as { mac: string }[])[1]?.mac).toBe('02:aa:00:00:00:01');
      const two = await lab.cni({
        command: 'ADD',
        containerId: 'c2',
        netns: lab.addPod('c2'),
        env: { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web-0;IP=10.88.0.77;K8S_POD_NAMESPACE=team-a' },
      });
      expect(two.json).toMatchObject({ code: 100, details: 'address=10.88.0.77' });
    });

    it('refuses a repeated ADD and an existing interface, and changes neither', async () => {
      const netns = lab.addPod('c1');
      const call = { command: 'ADD', containerId: 'c1', netns };
      await lab.cni(call);
      expect((await lab.cni(call)).json).toMatchObject({
        code: 100,
        msg: 'interface eth0 of container c1 is already attached; remove it first',
      });
      const other = await lab.cni({ ...call, containerId: 'c2' });
      expect(other.json).toMatchObject({ code: 100, msg: 'container c2 already has an interface eth0' });
      expect((await lab.cni({ ...call, ifname: 'net1' })).status).toBe(0);
      expect(interfaces(netns).sort()).toEqual(['eth0', 'lo', 'net1']);
      expect(links()).toHaveLength(2);
    });

    it('on a node without a free address fails with the reason and leaves nothing', async () => {
      await lab.endAgent({ kill: false });
      await lab.startAgent({ ranges: ['10.88.0.0/32'] });
      expect((await lab.cni({ command: 'ADD', containerId: 'c1', netns: lab.addPod('c1') })).status).toBe(0);
      const netns = lab.addPod('c2');
      const { json } = await lab.cni({ command: 'ADD', containerId: 'c2', netns });
      expect(json).toMatchObject({ code: 11 });
      expect(json['msg']).toContain('10.88.0.0/32 has no free address: 1 addresses, 1 in use');
      expect(interfaces(netns)).toEqual(['lo']);
      expect(links()).toHaveLength(1);
    });

    it('is undone when its runtime is killed before it has the result', async () => {
      const netns = lab.addPod('c1');
      await lab.cni({ command: 'DEL', containerId: 'warm-up' });
      await lab.until(() => lab.openCalls() === 0);
      lab.signalAgent('SIGSTOP');
      const child = spawn(lab.binary, {
        env: {
          CNI_COMMAND: 'ADD',
          CNI_CONTAINERID: 'c1',
          CNI_NETNS: netns,
          CNI_IFNAME: 'eth0',
          CNI_PATH: '/x',
        },
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      child.stdin.end(JSON.stringify({ cniVersion: '1.0.0', name: 'keelson', agent: lab.socketPath }));
      await lab.until(() =>
        execFileSync('cat', [`/proc/${child.pid ?? 0}/wchan`], { encoding: 'utf8' }).includes('poll'),
      );
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      expect(lab.openCalls()).toBe(1);
      lab.signalAgent('SIGCONT');
      // Before it has begun, it would look as if it were undone; until it is, another one is
      // refused.
      await lab.until(() => lab.openCalls() === 0);
      await lab.until(async () => (await lab.cni({ command: 'ADD', containerId: 'c1', netns })).status === 0);
      expect(await lab.attachments()).toHaveLength(1);
      expect(links()).toHaveLength(1);
      expect(interfaces(netns)).toEqual(['lo', 'eth0']);
      await lab.cni({ command: 'DEL', containerId: 'c1', netns });
      expect(interfaces(netns)).toEqual(['lo']);
      expect(links()).toEqual([]);
    });
  });

  describe('DEL', () => {
    it('succeeds repeatedly, without a namespace, with a deleted one, and for an unknown container', async () => {
      const netns = lab.addPod('c1');
      await lab.cni({ command: 'ADD', containerId: 'c1', netns });
      for (let time = 0; time < 3; time += 1) {
        expect(await lab.cni({ command: 'DEL', containerId: 'c1', netns })).toMatchObject({
          status: 0,
          stdout: '',
        });
        expect(links()).toEqual([]);
        expect(interfaces(netns)).toEqual(['lo']);
      }
      await lab.cni({ command: 'ADD', containerId: 'c1', netns });
      expect((await lab.cni({ command: 'DEL', containerId: 'c1' })).status).toBe(0);
      expect(interfaces(netns)).toEqual(['lo']);
      await lab.cni({ command: 'ADD', containerId: 'c1', netns });
      lab.removePod(netns);
      expect((await lab.cni({ command: 'DEL', containerId: 'c1', netns })).status).toBe(0);
      expect((await lab.cni({ command: 'DEL', containerId: 'never', netns: '/nowhere' })).status).toBe(0);
      expect(await lab.ask('status')).toMatchObject({ attachments: 0, inUse: [0, 0] });
    });

    it('removes one interface of several', async () => {
      const netns = lab.addPod('c1');
      for (const ifname of ['eth0', 'net1'])
        await lab.cni({ command: 'ADD', containerId: 'c1', netns, ifname });
      await lab.cni({ command: 'DEL', containerId: 'c1', netns, ifname: 'eth0' });
      expect(interfaces(netns).sort()).toEqual(['lo', 'net1']);
    });
  });

  describe('CHECK', () => {
    it('succeeds after ADD and reports later changes', async () => {
      const netns = lab.addPod('c1');
      const { json: prevResult } = await lab.cni({ command: 'ADD', containerId: 'c1', netns });
      const check = (): Promise<CniRun> =>
        lab.cni({ command: 'CHECK', containerId: 'c1', netns, config: { prevResult } });
      expect(await check()).toMatchObject({ status: 0, stdout: '' });
      lab.exec(netns, 'ip route del default');
      expect((await check()).json).toMatchObject({
        code: 101,
        msg: expect.stringContaining('the pod lacks the default route via 169.254.1.1') as string,
      });
      lab.exec(netns, 'ip link del eth0');
      expect((await check()).json['msg']).toContain('the node end of the link does not exist');
    });

    it('compares with prevResult, and needs it', async () => {
      const netns = lab.addPod('c1');
      const { json } = await lab.cni({ command: 'ADD', containerId: 'c1', netns });
      const prevResult = { ...json, ips: [{ address: '10.88.0.200/32', interface: 1 }] };
      const call = { command: 'CHECK', containerId: 'c1', netns };
      expect((await lab.cni({ ...call, config: { prevResult } })).json).toMatchObject({
        code: 101,
        msg: 'prevResult lacks address 10.88.0.1 of eth0',
      });
      expect((await lab.cni(call)).json).toMatchObject({ code: 7 });
      expect((await lab.cni({ ...call, containerId: 'other', config: { prevResult } })).json).toMatchObject({
        code: 3,
      });
    });
  });

  describe('GC', () => {
    it('removes attachments that the runtime does not list, of its own network only', async () => {
      for (const name of ['c1', 'c2', 'c3']) {
        const config = name === 'c3' ? { name: 'other' } : {};
        await lab.cni({ command: 'ADD', containerId: name, netns: lab.addPod(name), config });
      }
      const config = { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'eth0' }] };
      expect((await lab.cni({ command: 'GC', containerId: '', version: '1.1.0', config })).status).toBe(0);
      expect((await lab.attachments()).map(({ containerId }) => containerId)).toEqual(['c2', 'c3']);
      expect(links()).toHaveLength(2);
    });

    it('removes nothing without the list of valid attachments', async () => {
      await lab.cni({ command: 'ADD', containerId: 'c1', netns: lab.addPod('c1') });
      expect((await lab.cni({ command: 'GC', containerId: '', version: '1.1.0' })).json).toMatchObject({
        code: 7,
      });
      expect(links()).toHaveLength(1);
    });
  });

  it('STATUS succeeds, even on a node whose addresses are all taken', async () => {
    await lab.endAgent({ kill: false });
    await lab.startAgent({ ranges: ['10.88.0.0/32'] });
    await lab.cni({ command: 'ADD', containerId: 'c1', netns: lab.addPod('c1') });
    expect(await lab.cni(STATUS)).toMatchObject({ status: 0, stdout: '' });
  });

  it.each([
    ['a version from the future', 1, 'cniVersion "9.9.9"', { version: '9.9.9' }],
    [
      'CHECK in a version without it',
      1,
      'CHECK requires cniVersion 0.4.0',
      { command: 'CHECK', version: '0.3.1' },
    ],
    [
      'a missing variable',
      4,
      'CNI_CONTAINERID, CNI_IFNAME',
      { env: { CNI_CONTAINERID: '', CNI_IFNAME: '' } },
    ],
    ['a container id that is a path', 4, 'CNI_CONTAINERID', { containerId: '../../etc' }],
    ['an interface name that is a path', 4, 'CNI_IFNAME', { ifname: '../x' }],
    ['a long interface name', 4, 'CNI_IFNAME', { ifname: 'sixteencharacter' }],
    ['a network name that is a path', 7, 'network name', { config: { name: '../x' } }],
    ['a namespace that does not exist', 3, '/nowhere', { netns: '/nowhere' }],
    ['a file that is not a namespace', 3, '/etc/passwd', { netns: '/etc/passwd' }],
    ['an unknown command', 4, 'CNI_COMMAND', { command: 'UPDATE' }],
    ['an address outside the range', 7, '10.1.2.3', { config: { runtimeConfig: { ips: ['10.1.2.3'] } } }],
    [
      'a host port on loopback',
      2,
      'route_localnet',
      {
        config: { runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 1, hostIP: '127.0.0.1' }] } },
      },
    ],
  ])('refuses %s with code %i', async (_, code, words, call) => {
    const netns = lab.addPod('c1');
    const run = await lab.cni({ command: 'ADD', containerId: 'c1', netns, ...call });
    expect(run.status).not.toBe(0);
    expect(run.json).toMatchObject({ code, msg: expect.stringContaining(words) as string });
    expect(interfaces(netns)).toEqual(['lo']);
  });

  it("refuses the node's own namespace with code 8", async () => {
    const run = await lab.cni({ command: 'ADD', containerId: 'c1', netns: lab.node });
    expect(run.json).toMatchObject({ code: 8 });
    expect(links()).toEqual([]);
  });

  it('restricts its socket and the directory of it to root', () => {
    expect(statSync(lab.socketPath).mode & 0o777).toBe(0o600);
    expect(statSync(join(lab.socketPath, '..')).mode & 0o777).toBe(0o700);
  });

  it('drops a connection that speaks something else', async () => {
    const script = `printf '\\000\\000\\000\\005hello' | busybox timeout 5 busybox nc local:${lab.socketPath} || true`;
    expect(lab.exec(lab.node, script)).toBe('');
    expect((await lab.cni(STATUS)).status).toBe(0);
  });
});

describe('without an agent', () => {
  it('DEL succeeds at once, is queued once, and is served when the agent starts', async () => {
    await lab.startAgent({ ranges: ['10.88.0.0/30'], cooldownMs: 0 });
    const netns = lab.addPod('c1');
    const before = await lab.cni({ command: 'ADD', containerId: 'c1', netns });
    await lab.cni({ command: 'ADD', containerId: 'c2', netns: lab.addPod('c2') });
    await lab.endAgent({ kill: true });
    for (let time = 0; time < 3; time += 1) {
      expect(await lab.cni({ command: 'DEL', containerId: 'c1', netns })).toMatchObject({
        status: 0,
        stdout: '',
      });
    }
    expect(queue()).toHaveLength(1);
    expect(links()).toHaveLength(2);
    await lab.startAgent({ ranges: ['10.88.0.0/30'], cooldownMs: 0 });
    expect(queue()).toEqual([]);
    expect(interfaces(netns)).toEqual(['lo']);
    const after = await lab.cni({ command: 'ADD', containerId: 'c1', netns });
    expect(firstAddress(after)).toBe(firstAddress(before));
  });

  it('DEL succeeds when no agent has run since boot', async () => {
    expect(await lab.cni({ command: 'DEL', containerId: 'c1' })).toMatchObject({ status: 0 });
    expect(existsSync(join(lab.socketPath, '..'))).toBe(false);
  });

  it('DEL is refused rather than queued without bound', async () => {
    await lab.startAgent();
    await lab.endAgent({ kill: true });
    lab.exec(lab.node, `cd ${lab.socketPath}.queue && for i in $(seq 1024); do : > f$i; done`);
    expect((await lab.cni({ command: 'DEL', containerId: 'c1' })).json).toMatchObject({
      code: 11,
      msg: expect.stringContaining('the queue is full') as string,
    });
    await lab.startAgent();
    expect(queue()).toEqual([]);
  });

  /** Whether an exec binary of the lab is between two looks for the agent. */
  const sleeps = (): boolean => {
    const running = 'for p in $(pgrep -f "$0"); do cat /proc/$p/wchan; echo; done 2>/dev/null || :';
    return execFileSync('sh', ['-c', running, lab.binary], { encoding: 'utf8' }).includes('nanosleep');
  };

  it('ADD waits for an agent that is about to start', async () => {
    const netns = lab.addPod('c1');
    // It waits 5 s; on a busy machine a process takes longer to start. So one has started, without
    // being visible yet.
    await lab.startAgent();
    renameSync(lab.socketPath, `${lab.socketPath}.hidden`);
    const waiting = lab.cni({ command: 'ADD', containerId: 'c1', netns });
    await lab.until(sleeps);
    renameSync(`${lab.socketPath}.hidden`, lab.socketPath);
    expect((await waiting).status).toBe(0);
    expect(interfaces(netns)).toContain('eth0');
  });

  it('ADD fails with code 11 and a remedy', async () => {
    const run = await lab.cni({ command: 'ADD', containerId: 'c1', netns: lab.addPod('c1') });
    expect(run.json).toMatchObject({
      code: 11,
      msg: `the keelson agent at ${lab.socketPath} did not answer ADD (No such file or directory); check that it runs on this node`,
    });
  });

  it('STATUS tolerates a short absence of the agent and not a long one', async () => {
    expect((await lab.cni(STATUS)).json).toMatchObject({ code: 50 });
    await lab.startAgent();
    await lab.endAgent({ kill: true });
    expect((await lab.cni(STATUS)).status).toBe(0);
    const longAgo = new Date(Date.now() - 40_000);
    utimesSync(`${lab.socketPath}.alive`, longAgo, longAgo);
    const run = await lab.cni(STATUS);
    expect(run.json).toMatchObject({
      code: 50,
      msg: expect.stringMatching(/no heartbeat for \d\d s/) as string,
    });
  });

  it('STATUS does not wait for an agent that hangs', async () => {
    await lab.startAgent();
    lab.signalAgent('SIGSTOP');
    // A waiter would end with the test.
    expect((await lab.cni(STATUS)).status).toBe(0);
    lab.signalAgent('SIGCONT');
  });

  it('VERSION succeeds, and an empty command prints a description', async () => {
    const run = await lab.cni({ command: 'VERSION', containerId: '', version: '0.4.0' });
    expect(run.json).toEqual({
      cniVersion: '0.4.0',
      supportedVersions: ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    });
    expect(await lab.cni({ command: '', containerId: '' })).toMatchObject({ status: 0, stdout: '' });
  });
});

describe('as loopback', () => {
  const call = (command: string, netns: string, config: Record<string, unknown> = {}): Promise<CniRun> =>
    runPlugin(
      join(lab.binary, '../loopback'),
      JSON.stringify({ cniVersion: '0.3.1', name: 'cni-loopback', type: 'loopback', ...config }),
      {
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'c1',
        CNI_NETNS: netns,
        CNI_IFNAME: 'lo',
        CNI_PATH: '/opt/cni/bin',
      },
    );
  const isUp = (netns: string): boolean =>
    lab.ip<{ flags: string[] }>(netns, 'link show lo')[0]?.flags.includes('UP') === true;

  it('brings lo up and down without an agent, and answers by version', async () => {
    const netns = lab.addPod('c1');
    const lo = { name: 'lo', mac: '00:00:00:00:00:00', sandbox: netns };
    const { json } = await call('ADD', netns);
    expect(json).toEqual({
      cniVersion: '0.3.1',
      interfaces: [lo],
      ips: [
        { version: '4', interface: 0, address: '127.0.0.1/8' },
        { version: '6', interface: 0, address: '::1/128' },
      ],
      dns: {},
    });
    expect(isUp(netns)).toBe(true);
    expect((await call('CHECK', netns, { cniVersion: '1.0.0' })).status).toBe(0);
    const prevResult = { cniVersion: '1.0.0', interfaces: [], 'x"}': ['{', { y: '\\' }] };
    expect((await call('ADD', netns, { cniVersion: '1.0.0', prevResult })).json).toEqual(prevResult);
    expect((await call('DEL', netns)).status).toBe(0);
    expect(isUp(netns)).toBe(false);
    expect((await call('CHECK', netns, { cniVersion: '1.0.0' })).json).toMatchObject({ code: 101 });
    expect((await call('DEL', '')).status).toBe(0);
    expect((await call('DEL', '/nowhere')).status).toBe(0);
    expect((await call('ADD', '/nowhere')).json).toMatchObject({ code: 8 });
  });

  it("does not touch the node's own", async () => {
    expect((await call('DEL', '/proc/self/ns/net')).json).toMatchObject({ code: 8 });
  });
});

describe('the reader of "agent"', () => {
  /** STATUS without an agent names the socket it looked for. */
  async function socketOf(stdin: string): Promise<string | undefined> {
    const { json } = await runPlugin(lab.binary, stdin, { CNI_COMMAND: 'STATUS', CNI_PATH: '/x' });
    return /served (.*) since boot/s.exec(String(json['msg']))?.[1] ?? `code ${String(json['code'])}`;
  }

  it.each([
    ['{"agent":"/a/b"}', '/a/b'],
    ['{}', '/run/keelson/cni.sock'],
    [' {\t"x":{"agent":"/no"},\n"agent" : "/yes"} ', '/yes'],
    ['{"x":"\\"agent\\":\\"/no\\"","agent":"/yes"}', '/yes'],
    ['{"x":["}",{"a":"]"}],"agent":"/yes"}', '/yes'],
    ['{"agent":"/one","agent":"/two"}', '/two'],
    ['{"a\\u0067ent":"/\\u00e9\\ud83d\\ude00\\/x"}', '/é😀/x'],
    ['{"agent":"relative"}', 'code 7'],
    ['{"agent":7}', 'code 7'],
    ['{"agent":"/a\\u0000b"}', 'code 7'],
    [`{"agent":"/${'x'.repeat(108)}"}`, 'code 7'],
    ['{"agent":"/a"', 'code 6'],
    ['{"agent":"/a"}}', 'code 6'],
    ['{"agent":"/a" "x":1}', 'code 6'],
    ['{"x":[},"agent":"/a"}', 'code 6'],
    ['["agent"]', 'code 6'],
    ['', 'code 6'],
  ])('reads %s as %s', async (stdin, expected) => {
    expect(await socketOf(stdin)).toBe(expected);
  });

  it('agrees with JSON.parse on 300 random configurations', async () => {
    let seed = 20_261_121;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const PIECES = [
      'agent',
      '"',
      '\\',
      '/',
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      'é',
      '😀',
      '\n',
      'x',
      ' ',
      '\u2028',
      '\b',
    ];
    const string = (): string =>
      Array.from({ length: random(6) }, () => PIECES[random(PIECES.length)]).join('');
    const value = (depth: number): unknown => {
      const kind = random(depth > 3 ? 4 : 6);
      if (kind === 0) return string();
      if (kind === 1) return (random(1000) - 500) / 7;
      if (kind === 2) return random(2) === 0;
      if (kind === 3) return null;
      if (kind === 4) return Array.from({ length: random(4) }, () => value(depth + 1));
      return Object.fromEntries(Array.from({ length: random(4) }, () => [string(), value(depth + 1)]));
    };
    for (let round = 0; round < 300; round += 1) {
      const agent = `/${round}${string().replaceAll('\n', '')}`;
      const before = Array.from({ length: random(3) }, (_, i): [string, unknown] => [
        `k${i}${string()}`,
        value(0),
      ]);
      const after = Array.from({ length: random(3) }, (_, i): [string, unknown] => [
        `z${i}${string()}`,
        value(0),
      ]);
      let text = JSON.stringify(Object.fromEntries([...before, ['agent', agent], ...after]), null, random(3));
      if (random(2) === 0)
        text = text.replaceAll(/[é😀/]/gu, (c) =>
          [...Array(c.length).keys()]
            .map((i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`)
            .join(''),
        );
      expect((JSON.parse(text) as { agent: string }).agent).toBe(agent);
      expect(await socketOf(text), text).toBe(agent);
      // Cut anywhere, it is refused and never misread.
      expect(await socketOf(text.slice(0, random(text.trimEnd().length)))).toBe('code 6');
    }
  });
});

it('a stale socket is taken over', async () => {
  await lab.startAgent();
  await lab.endAgent({ kill: true });
  expect(existsSync(lab.socketPath)).toBe(true);
  await lab.startAgent();
  expect((await lab.cni(STATUS)).status).toBe(0);
  await lab.endAgent({ kill: false });
  expect(() => unlinkSync(lab.socketPath)).toThrow('ENOENT');
});
