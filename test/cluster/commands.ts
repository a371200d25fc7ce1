import { spawn } from 'node:child_process';
import { Fault } from '../../src/core/fault.ts';
import type { Cluster, UpOptions } from './cluster.ts';
import {
  apiServerDown,
  cutLink,
  deleteNode,
  restartContainerd,
  restartKubelet,
  restoreLink,
} from './faults.ts';
import type { ClusterSettings } from './record.ts';

export interface CommandContext {
  readonly cluster: Cluster;
  /** What follows the command's name. */
  readonly args: readonly string[];
  /** Of `up`. */
  readonly up: UpOptions;
  readonly signal: AbortSignal;
}

/** Gives the exit code, when it is not 0. */
export type Command = (context: CommandContext) => Promise<number | undefined>;

/** A command that acts on the node that its argument names. */
function onNode(act: (cluster: Cluster, name: string, signal: AbortSignal) => Promise<void>): Command {
  return async ({ cluster, args: [name], signal }) => {
    if (name === undefined) throw new Fault('invalid', 'which node?');
    await act(cluster, name, signal);
    return undefined;
  };
}

export const COMMANDS: Readonly<Record<string, Command>> = {
  async up({ cluster, up, signal }) {
    await cluster.up({ ...up, signal });
    print(`export KUBECONFIG=${cluster.kubeconfig}`);
    return undefined;
  },
  async down({ cluster }) {
    await cluster.down();
    return undefined;
  },
  status: async ({ cluster }) => await printStatus(cluster),
  async kubeconfig({ cluster }) {
    print(cluster.kubeconfig);
    return undefined;
  },
  async kubectl({ cluster, args }) {
    const { file, kubeconfig } = await cluster.kubectl();
    return await passThrough(file, ['--kubeconfig', kubeconfig, ...args]);
  },
  async shell({ cluster, args: [name = '', ...command] }) {
    const enter = await cluster.machine(name).enterCommand();
    return await passThrough('nsenter', [...enter, ...(command.length === 0 ? ['bash'] : command)]);
  },
  async load({ cluster, args: [archive], signal }) {
    if (archive === undefined) throw new Fault('invalid', 'which image archive?');
    await cluster.loadImages(archive, signal);
    return undefined;
  },
  'add-node': onNode((cluster, name, signal) => cluster.addNode(name, signal)),
  'remove-node': onNode((cluster, name) => cluster.removeNode(name)),
  'stop-node': onNode((cluster, name) => cluster.stopNode(name)),
  'start-node': onNode((cluster, name, signal) => cluster.startNode(name, signal)),
  'delete-node': onNode(deleteNode),
  'cut-link': onNode(cutLink),
  'restore-link': onNode(restoreLink),
  'restart-kubelet': onNode(restartKubelet),
  'restart-containerd': onNode(restartContainerd),
  async 'api-down'({ cluster, args: [seconds = ''], signal }) {
    await apiServerDown(cluster, 1_000 * parseCount('SECONDS', seconds), signal);
    return undefined;
  },
};

/** Values of the flags of `up`. */
export interface UpFlags {
  readonly nodes?: string | undefined;
  readonly cni?: string | undefined;
  readonly proxy?: boolean | undefined;
  readonly containerd?: string | undefined;
  readonly 'controller-qps'?: string | undefined;
  readonly controller?: boolean | undefined;
  readonly 'pool-size'?: string | undefined;
  readonly durable?: boolean | undefined;
  readonly 'kubelet-features'?: string | undefined;
  readonly keelson?: string | undefined;
}

/** Throws `invalid` for a value that is none. */
export function parseUpFlags(flags: UpFlags): UpOptions {
  const { cni, containerd, proxy, nodes, controller, durable, keelson } = flags;
  const { 'controller-qps': qps, 'pool-size': poolSize, 'kubelet-features': kubeletFeatures } = flags;
  const settings: Partial<ClusterSettings> = {
    ...(keelson === undefined
      ? {}
      : { keelson: parseChoice('--keelson', keelson, ['processes', 'shipped']) }),
    ...(cni === undefined ? {} : { cni: parseChoice('--cni', cni, ['bridge', 'keelson', 'none']) }),
    ...(containerd === undefined
      ? {}
      : { containerd: parseChoice('--containerd', containerd, ['debian', 'latest']) }),
    ...(proxy === undefined ? {} : { proxy }),
    ...(controller === undefined ? {} : { controller }),
    ...(durable === undefined ? {} : { durable }),
    ...(poolSize === undefined ? {} : { poolSize }),
    ...(kubeletFeatures === undefined ? {} : { kubeletFeatures }),
    ...(qps === undefined ? {} : { controllerQps: parseCount('--controller-qps', qps) }),
  };
  return { nodes: nodes === undefined ? undefined : parseCount('--nodes', nodes), settings };
}

function parseChoice<T extends string>(flag: string, value: string, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) throw new Fault('invalid', `${flag} ${value}: must be ${choices.join(' or ')}`);
  return choice;
}

function parseCount(what: string, value: string): number {
  if (!/^\d{1,6}$/.test(value))
    throw new Fault('invalid', `${what} ${JSON.stringify(value)} is not a whole number`);
  return Number(value);
}

async function printStatus(cluster: Cluster): Promise<number> {
  const { directory, server, controlPlane, nodes } = await cluster.status();
  print(`${server}, everything in ${directory}`);
  const on = (running: boolean): string => (running ? 'runs' : 'off');
  for (const [name, running] of controlPlane) print(`  ${name.padEnd(26)}${on(running)}`);
  for (const { name, address, running } of nodes)
    print(`  ${name.padEnd(26)}${on(running).padEnd(6)}${address}`);
  return [...controlPlane.values()].every(Boolean) ? 0 : 1;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs a program on this process's own terminal; gives its exit code. */
function passThrough(file: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
