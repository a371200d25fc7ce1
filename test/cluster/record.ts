import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { choosePrefix, freeIndex, MAX_NODES } from './addresses.ts';
import type { CniChoice } from './pod-network.ts';
import type { ContainerdChoice } from './runtime.ts';
import type { KeelsonChoice } from './shipped.ts';

/** How a cluster's nodes are made. */
export interface ClusterSettings {
  /** `shipped` brings its own network and controller: `cni` and `controller` say nothing then. */
  readonly keelson: KeelsonChoice;
  readonly cni: CniChoice;
  /** Keelson's CRI proxy between kubelet and containerd. */
  readonly proxy: boolean;
  readonly containerd: ContainerdChoice;
  /** Requests a second that the controller manager may make. */
  readonly controllerQps: number;
  /**
   * Keelson's controller as a process of the control plane, and agents that are members of the
   * cluster.
   */
  readonly controller: boolean;
  /** Size of the pool of each agent that is a member, as in a configuration: 20Gi. */
  readonly poolSize: string;
  /** Whether etcd waits for the disk, as it does in earnest. */
  readonly durable: boolean;
  /** Feature gates of kubelet that are off by default, with commas between. */
  readonly kubeletFeatures: string;
}

export interface NodeRecord {
  readonly name: string;
  /** Decides its address; stays its own until it is removed. */
  readonly index: number;
  /** Switched off on purpose, so that `up` leaves it off. */
  readonly off?: boolean;
}

/** What has been decided about a cluster. What runs of it is never written down but looked up. */
export interface ClusterRecord {
  readonly prefix: string;
  readonly settings: ClusterSettings;
  readonly nodes: readonly NodeRecord[];
}

export interface RecordRequest {
  /** At least so many nodes, called node-1, node-2, ...; default: those that there are, or 2. */
  readonly nodes?: number | undefined;
  /** Only for a new cluster. */
  readonly settings?: Partial<ClusterSettings> | undefined;
}

export const DEFAULT_SETTINGS: ClusterSettings = {
  keelson: 'processes',
  cni: 'keelson',
  proxy: true,
  containerd: 'debian',
  controllerQps: 20,
  controller: false,
  poolSize: '20Gi',
  durable: false,
  kubeletFeatures: '',
};

const FILE = 'cluster.json';

/**
 * The record in `directory`, created or completed as requested. Rejects with `conflict` where it
 * says otherwise.
 */
export async function ensureRecord(
  directory: string,
  { nodes, settings = {} }: RecordRequest,
): Promise<ClusterRecord> {
  const found = await readRecord(directory);
  if (found !== undefined) checkSettings(directory, found.settings, settings);
  const record = {
    prefix: found?.prefix ?? (await findFreePrefix(directory)),
    settings: found?.settings ?? { ...DEFAULT_SETTINGS, ...settings },
    nodes: completeNodes(found?.nodes ?? [], nodes ?? (found === undefined ? 2 : 0)),
  };
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeRecord(directory, record);
  return record;
}

/** `nodes`, and as many new ones as are missing to `count`. */
export function completeNodes(nodes: readonly NodeRecord[], count: number): NodeRecord[] {
  if (count > MAX_NODES) throw new Fault('invalid', `a cluster has at most ${MAX_NODES} nodes, not ${count}`);
  const all = [...nodes];
  for (let number = 1; all.length < count; number += 1) {
    const name = `node-${number}`;
    if (all.every((node) => node.name !== name)) all.push({ name, index: freeIndex(all) });
  }
  return all;
}

/** The record in a cluster's directory; undefined when there is no such cluster. */
export async function readRecord(directory: string): Promise<ClusterRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(directory, FILE), 'utf8')) as ClusterRecord;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

export async function writeRecord(directory: string, record: ClusterRecord): Promise<void> {
  const file = join(directory, FILE);
  await writeFile(`${file}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  await rename(`${file}.new`, file);
}

function checkSettings(directory: string, found: ClusterSettings, wanted: Partial<ClusterSettings>): void {
  for (const key of Object.keys(found) as (keyof ClusterSettings)[]) {
    if (wanted[key] === undefined || wanted[key] === found[key]) continue;
    throw new Fault(
      'conflict',
      `the cluster in ${directory} has ${key} ${found[key]}, not ${wanted[key]}: bring it down first, or choose another name`,
    );
  }
}

/**
 * A network is taken when this machine has an address in it, or another cluster has it, running or
 * not.
 */
async function findFreePrefix(directory: string): Promise<string> {
  const base = dirname(directory);
  const names = await readdir(base).catch(() => []);
  const records = await Promise.all(names.map((name) => readRecord(join(base, name)).catch(() => undefined)));
  const local = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const isTaken = (prefix: string): boolean =>
    records.some((record) => record?.prefix === prefix) ||
    local.some(({ address }) => address.startsWith(`${prefix}.`));
  const prefix = choosePrefix(directory, isTaken);
  if (prefix === undefined) throw new Fault('exhausted', 'every network in 198.18.0.0/15 is in use');
  return prefix;
}
