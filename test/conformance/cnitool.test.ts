import { mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { type CommandOutput, runCommand } from '../../src/runtime/child-process.ts';
import { type AgentProcess, KEELSON, requireAgent, startAgent } from '../integration/host/agent-process.ts';
import { requireTool } from '../tools/require-tool.ts';

const PLUGIN_DIR = join(import.meta.dirname, '../../dist/cni');
const UNIQUE = `keelson-cnitool-${process.pid}`;
const RANGE = /^10\.213\.0\.\d+\/32$/;

interface NetworkList {
  name: string;
  cniVersion: string;
  cniVersions?: readonly string[];
}

interface AddResult {
  readonly cniVersion: string;
  readonly interfaces: readonly { readonly name: string; readonly sandbox?: string }[];
  readonly ips: readonly {
    readonly address: string;
    readonly interface?: number;
    readonly version?: string;
  }[];
}

interface Link {
  readonly ifname: string;
  readonly addr_info: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
  }[];
}

describe('the reference caller of CNI plugins, cnitool', () => {
  const resources = new AsyncDisposableStack();
  let agent: AgentProcess | undefined;

  afterAll(async () => {
    await resources.disposeAsync();
  });

  /** One agent for all tests. */
  async function ready(context: TestContext): Promise<{ tool: string; agent: AgentProcess }> {
    await requireAgent(context);
    const tool = await requireTool(context, 'cnitool');
    agent ??= resources.use(
      await startAgent({
        name: 'cnitool',
        config: { network: { name: UNIQUE, ranges: ['10.213.0.0/24'], cooldownSeconds: 0 } },
      }),
    );
    return { tool, agent };
  }

  describe.each(['0.4.0', '1.0.0', '1.1.0'])('with cniVersion %s', (version) => {
    const pod = `${UNIQUE}-${version}`;

    it('connects a pod by ADD, passes CHECK, and removes everything by DEL', async (context) => {
      const { tool, agent: running } = await ready(context);
      const cni = await networkOf(running, version);
      await using netns = await makeNetns(pod);

      const result = JSON.parse((await call(tool, 'add', cni, netns)).stdout) as AddResult;
      expect(result.cniVersion).toBe(version);
      expect(result.ips).toHaveLength(1);
      const inside = result.interfaces.findIndex((one) => one.sandbox === netns.path);
      expect(result.interfaces[inside]?.name).toBe('eth0');
      expect(result.ips[0]?.interface).toBe(inside);
      const address = result.ips[0]?.address ?? '';
      expect(address).toMatch(RANGE);
      expect(await addressesIn(netns)).toEqual([address]);
      expect(await defaultRoutesOf(netns)).toHaveLength(1);

      await call(tool, 'check', cni, netns);
      await call(tool, 'del', cni, netns);
      expect(await addressesIn(netns)).toEqual([]);
    });

    it('fails CHECK when the address was removed', async (context) => {
      const { tool, agent: running } = await ready(context);
      const cni = await networkOf(running, version);
      await using netns = await makeNetns(pod);
      await call(tool, 'add', cni, netns);
      await runCommand('ip', ['-n', netns.name, 'address', 'flush', 'dev', 'eth0']);
      const { code, stdout, stderr } = await call(tool, 'check', cni, netns, [1]);
      expect(code, `${stdout}${stderr}`).toBe(1);
      expect(`${stdout}${stderr}`).toMatch(/10\.213\.0\.\d+/);
      await call(tool, 'del', cni, netns);
    });

    it('succeeds with a second DEL, also when the namespace was deleted', async (context) => {
      const { tool, agent: running } = await ready(context);
      const cni = await networkOf(running, version);
      const netns = await makeNetns(pod);
      try {
        await call(tool, 'add', cni, netns);
      } finally {
        await netns[Symbol.asyncDispose]();
      }
      await call(tool, 'del', cni, netns);
      await call(tool, 'del', cni, netns);
    });
  });

  it('STATUS succeeds during a restart of the agent, and fails while the agent stays down', async (context) => {
    const { tool, agent: running } = await ready(context);
    const cni = await networkOf(running, '1.1.0');
    const anywhere = { path: '/proc/self/ns/net' };
    await call(tool, 'status', cni, anywhere);
    await running.stop();
    try {
      await call(tool, 'status', cni, anywhere);
      // Half a minute of absence is forgiven; the agent shows that it lives by touching this file.
      const longAgo = new Date(Date.now() - 60_000);
      await utimes(`${running.cniSocket}.alive`, longAgo, longAgo);
      const { code, stdout, stderr } = await call(tool, 'status', cni, anywhere, [1]);
      expect(code).toBe(1);
      expect(`${stdout}${stderr}`).toContain('check that it runs');
    } finally {
      await running.start();
    }
    await call(tool, 'status', cni, anywhere);
  });

  // cnitool 1.3.1 removes what it remembers by DEL, then asks for GC without the list that the
  // specification requires.
  it('removes a cached attachment by DEL, and is refused a GC without a list of valid attachments', async (context) => {
    const { tool, agent: running } = await ready(context);
    const cni = await networkOf(running, '1.1.0');
    await using own = await makeNetns(`${UNIQUE}-own`);
    await using others = await makeNetns(`${UNIQUE}-others`);
    await call(tool, 'add', cni, own);
    await runCommand(join(PLUGIN_DIR, 'keelson-cni'), [], {
      input: JSON.stringify({
        cniVersion: '1.1.0',
        name: cni.network,
        type: 'keelson-cni',
        agent: running.cniSocket,
      }),
      env: {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: 'of-another-runtime',
        CNI_NETNS: others.path,
        CNI_IFNAME: 'eth0',
        CNI_PATH: PLUGIN_DIR,
      },
    });
    const { code, stdout, stderr } = await call(tool, 'gc', cni, own, [1]);
    expect(code).toBe(1);
    expect(`${stdout}${stderr}`).toContain('cni.dev/valid-attachments');
    expect(await addressesIn(own)).toEqual([]);
    expect(await addressesIn(others)).toHaveLength(1);
  });
});

interface Netns extends AsyncDisposable {
  readonly name: string;
  readonly path: string;
}

async function makeNetns(name: string): Promise<Netns> {
  await runCommand('ip', ['netns', 'add', name]);
  return {
    name,
    path: `/run/netns/${name}`,
    [Symbol.asyncDispose]: async () => {
      await runCommand('ip', ['netns', 'delete', name]);
    },
  };
}

/** Where cnitool finds the network, as `keelson cni-config` prints it, at one CNI version. */
interface Cni {
  readonly directory: string;
  readonly network: string;
}

async function networkOf(agent: AgentProcess, version: string): Promise<Cni> {
  const { stdout } = await runCommand(KEELSON, ['cni-config', '--config', agent.configFile]);
  const list = JSON.parse(stdout) as NetworkList;
  list.cniVersion = version;
  delete list.cniVersions;
  const directory = join(agent.directory, `net.d-${version}`);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, '10-keelson.conflist'), JSON.stringify(list));
  return { directory, network: list.name };
}

async function call(
  tool: string,
  command: string,
  cni: Cni,
  netns: Pick<Netns, 'path'>,
  accept: readonly number[] = [],
): Promise<CommandOutput> {
  return await runCommand(tool, [command, cni.network, netns.path], {
    accept,
    env: { PATH: process.env['PATH'], CNI_PATH: PLUGIN_DIR, NETCONFPATH: cni.directory },
  });
}

async function addressesIn(netns: Netns): Promise<string[]> {
  const links = await ipJson<Link>(netns, ['address', 'show']);
  return links
    .filter(({ ifname }) => ifname !== 'lo')
    .flatMap(({ addr_info }) => addr_info)
    .filter(({ scope }) => scope === 'global')
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}

async function defaultRoutesOf(netns: Netns): Promise<unknown[]> {
  return await ipJson(netns, ['-4', 'route', 'show', 'default']);
}

async function ipJson<T>(netns: Netns, args: readonly string[]): Promise<T[]> {
  const { stdout } = await runCommand('ip', ['-n', netns.name, '-j', ...args]);
  return JSON.parse(stdout === '' ? '[]' : stdout) as T[];
}
