import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { Fault } from '../../src/core/fault.ts';
import { cniConfig } from '../../src/core/cni/cni-config.ts';
import { isServed } from '../../src/runtime/unix-socket.ts';
import { POD_RANGE } from './addresses.ts';
import type { Daemon, Machine } from './machine.ts';

/**
 * `bridge`: the reference plugins; `keelson`: the agent as a process of the node; `none`: the user
 * of the cluster installs one.
 */
export type CniChoice = 'bridge' | 'keelson' | 'none';

const ROOT = join(import.meta.dirname, '../..');
export const KEELSON = join(ROOT, 'bin/keelson');
const REFERENCE_PLUGINS = '/usr/lib/cni';
const KEELSON_PLUGINS = join(ROOT, 'dist/cni');
const AGENT_CONFIG = '/etc/keelson/agent.yaml';
const AGENT: Daemon = { name: 'keelson-agent', file: KEELSON, args: ['agent', '--config', AGENT_CONFIG] };
const AGENT_KUBECONFIG = '/etc/keelson/agent.kubeconfig';
/** Ends with the processes that were started with the range. */
const RANGE_FILE = '/run/pod-range';
const CNI_SOCKET = '/run/keelson/cni.sock';
/** Served last; and it tolerates a connection without a request. */
const CSI_SOCKET = '/run/keelson/csi.sock';

/** What an agent needs to be a member of the cluster. */
export interface Membership {
  readonly kubeconfig: string;
  readonly poolSize: string;
}

/**
 * Gives pods of this node their network, from the range that Kubernetes has given the node.
 * Idempotent.
 */
export async function ensurePodNetwork(
  machine: Machine,
  choice: CniChoice,
  podRange: string,
  {
    membership,
    signal,
  }: { readonly membership?: Membership | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  switch (choice) {
    case 'none':
      return;
    case 'bridge':
      await installPlugins(machine, REFERENCE_PLUGINS);
      if (await givenAnotherRange(machine, podRange)) {
        await machine.runInNetwork(['ip', 'link', 'delete', 'cni0'], { accept: [1] });
      }
      await configure(machine, '10-bridge.conflist', bridgeConfig(podRange));
      return;
    case 'keelson':
      await installPlugins(machine, KEELSON_PLUGINS);
      const given = await givenAnotherRange(machine, podRange);
      // A member finds out by itself.
      if (given && membership === undefined) await stopAgent(machine);
      if (membership !== undefined) await machine.write(AGENT_KUBECONFIG, membership.kubeconfig);
      await machine.write(AGENT_CONFIG, agentConfig(machine.name, podRange, membership));
      await machine.ensureDaemon(AGENT);
      await machine.untilServing(AGENT, async () => await serves(machine, CSI_SOCKET), { signal });
      await configure(machine, '10-keelson.conflist', cniConfig({ agentSocket: CNI_SOCKET }));
  }
}

/**
 * Sends the agent SIGTERM, or SIGKILL with a grace of 0, if the node runs one; `ensurePodNetwork`
 * brings it back.
 */
export async function stopAgent(machine: Machine, graceMs?: number): Promise<void> {
  await machine.stopDaemon(AGENT, graceMs);
}

/**
 * Writes the range down. True when there was another before: a node that was deleted and returns
 * gets what is free then.
 */
async function givenAnotherRange(machine: Machine, podRange: string): Promise<boolean> {
  const before = await readFile(await machine.outside(RANGE_FILE), 'utf8').catch(() => podRange);
  await machine.write(RANGE_FILE, podRange);
  return before !== podRange;
}

async function configure(machine: Machine, name: string, config: object): Promise<void> {
  await machine.write(join('/etc/cni/net.d', name), JSON.stringify(config));
}

async function installPlugins(machine: Machine, from: string): Promise<void> {
  const names = await readdir(from).catch(() => []);
  if (names.length === 0) {
    const hint = from === REFERENCE_PLUGINS ? 'install containernetworking-plugins' : 'run `make build`';
    throw new Fault('precondition', `there are no CNI plugins in ${from}; ${hint}`);
  }
  const directory = await machine.outside('/opt/cni/bin');
  await mkdir(directory, { recursive: true });
  // A plugin may be executed while it is replaced (ETXTBSY), so those that are there stay.
  const present = new Set(await readdir(directory));
  const missing = names.filter((name) => !present.has(name));
  await Promise.all(missing.map((name) => copyFile(join(from, name), join(directory, name))));
}

async function serves(machine: Machine, socket: string): Promise<true | undefined> {
  return (await isServed(await machine.outside(socket))) ? true : undefined;
}

function bridgeConfig(podRange: string): object {
  const ipam = { type: 'host-local', ranges: [[{ subnet: podRange }]], routes: [{ dst: '0.0.0.0/0' }] };
  return {
    cniVersion: '0.4.0',
    name: 'bridge',
    plugins: [
      { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipMasq: false, ipam },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
}

function agentConfig(nodeName: string, podRange: string, membership?: Membership): string {
  return stringify({
    nodeName,
    stateDir: '/var/lib/keelson',
    runDir: '/run/keelson',
    kubeletDir: '/var/lib/kubelet',
    ...(membership === undefined
      ? { network: { ranges: [podRange], masqueradeExclusions: [POD_RANGE] } }
      : memberConfig(membership)),
  });
}

function memberConfig({ poolSize }: Membership): object {
  return {
    kubernetes: { kubeconfig: AGENT_KUBECONFIG },
    pools: [
      { name: 'default', backend: 'btrfs', source: { file: '/var/lib/keelson/default.img', size: poolSize } },
    ],
  };
}
