import { readdir, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { isWithin } from '../../src/core/volumes/mount-table.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import { type ClusterAddresses, clusterAddresses, freeIndex, hostLinkName } from './addresses.ts';
import { ControlPlane } from './control-plane.ts';
import type { KeelsonPrograms } from './keelson.ts';
import { KeelsonPods } from './keelson-pods.ts';
import { KeelsonProcesses } from './keelson-processes.ts';
import { Kubectl, readPodRanges } from './kubectl.ts';
import { findLeftovers } from './leftovers.ts';
import { Machine } from './machine.ts';
import { ensureBridge, ensureLink, ensurePodRoutes, removeHostLink } from './network.ts';
import { ClusterNode } from './node.ts';
import { kubeconfig, Pki } from './pki.ts';
import {
  type ClusterRecord,
  ensureRecord,
  type NodeRecord,
  readRecord,
  type RecordRequest,
  writeRecord,
} from './record.ts';
import { ensureContainerdBinaries, ensureImageArchive } from './runtime.ts';
import { ensureKubernetes, type KubernetesTools, requirePrograms } from './tools.ts';
import { waitFor } from './wait.ts';

export interface ClusterOptions {
  /** Several clusters on one machine differ by it. */
  readonly name: string;
  /** Holds a directory a cluster; default `~/.cache/keelson/cluster`. */
  readonly baseDirectory?: string | undefined;
}

export interface ClusterDeps {
  /** Called for each step when it is done. */
  readonly report?: (text: string) => void;
}

export interface UpOptions extends RecordRequest {
  readonly signal?: AbortSignal | undefined;
}

export interface ClusterStatus {
  readonly directory: string;
  readonly server: string;
  readonly controlPlane: ReadonlyMap<string, boolean>;
  readonly nodes: readonly { readonly name: string; readonly address: string; readonly running: boolean }[];
}

/** Everything of a cluster whose record is known. */
interface Parts {
  readonly record: ClusterRecord;
  readonly addresses: ClusterAddresses;
  readonly pki: Pki;
  readonly tools: KubernetesTools;
  readonly kubectl: Kubectl;
  readonly controlPlane: ControlPlane;
  readonly keelson: KeelsonPrograms;
  readonly containerdBinDir: string | undefined;
  readonly archive: string;
}

const CONTROL_PLANE = 'control-plane';
/** A DNS label, short enough for what is derived from it. */
const NAME = /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/;
/** What machines replace by their own; a cluster's directory must be seen by all of them. */
const PRIVATE = ['/etc', '/opt', '/var', '/run', '/proc', '/sys', '/dev'];

/**
 * A real Kubernetes on this machine: a control plane and nodes, each in namespaces of its own.
 * Every operation can be repeated.
 */
export class Cluster {
  readonly name: string;
  readonly directory: string;
  /** Where `kubectl` finds this cluster, from the host. */
  readonly kubeconfig: string;
  readonly #controlPlaneMachine: Machine;
  readonly #hostLink: string;
  readonly #report: (text: string) => void;
  readonly #changes = new KeyedLock();
  #parts: Parts | undefined;

  constructor(
    { name, baseDirectory = join(homedir(), '.cache/keelson/cluster') }: ClusterOptions,
    { report = () => undefined }: ClusterDeps = {},
  ) {
    this.name = checkName('cluster', name);
    this.directory = join(resolve(baseDirectory), name);
    const hidden = PRIVATE.find((directory) => isWithin(this.directory, directory));
    if (hidden !== undefined) {
      throw new Fault(
        'invalid',
        `a cluster cannot be in ${this.directory}: its machines have a ${hidden} of their own`,
      );
    }
    this.kubeconfig = join(this.directory, 'kubeconfig');
    this.#hostLink = hostLinkName(this.directory);
    this.#report = report;
    this.#controlPlaneMachine = this.machine(CONTROL_PLANE);
  }

  /**
   * Brings all of it up and waits until every node that is not switched off is Ready. Goes on where
   * an earlier run ended.
   */
  async up({ nodes, settings, signal }: UpOptions = {}): Promise<void> {
    const record = await ensureRecord(this.directory, { nodes, settings });
    const parts = await this.#prepare(record);
    await this.#controlPlaneMachine.boot(signal);
    await ensureBridge(this.#controlPlaneMachine, parts.addresses, this.#hostLink);
    const started = this.#nodes(parts, (node) => node.off !== true);
    await Promise.all([
      this.#ensureControlPlane(parts, signal),
      ...started.map((node) => this.#bootNode(parts, node, signal)),
    ]);
    await this.#join(parts, started, signal);
    await parts.keelson.untilControllerRuns(signal);
  }

  /** Removes all of it, whatever state it is in, and proves that nothing is left. */
  async down(): Promise<void> {
    const names = await readdir(join(this.directory, 'machines')).catch(() => []);
    await Promise.all([...new Set([CONTROL_PLANE, ...names])].map((name) => this.machine(name).powerOff()));
    await removeHostLink(this.#hostLink);
    const { directory } = this;
    const belongings = { directory, cgroupPrefix: this.#cgroup(''), hostLink: this.#hostLink };
    let left: string[] = [];
    // Namespaces end a moment after their last process.
    await waitFor(
      `nothing is left of cluster ${this.name}`,
      async () => {
        left = await findLeftovers(belongings);
        if (left.length > 0) throw new Fault('busy', left.join(', '));
        return true;
      },
      { timeoutMs: 60_000 },
    );
    await rm(directory, { recursive: true, force: true });
    this.#parts = undefined;
    this.#report('down: no process, mount, interface, cgroup, loop device or file is left');
  }

  /** Adds a node and waits until it is Ready. */
  async addNode(name: string, signal?: AbortSignal): Promise<void> {
    checkName('node', name);
    await this.#changeNodes((nodes) => {
      if (name === CONTROL_PLANE || nodes.some((node) => node.name === name)) {
        throw new Fault('conflict', `cluster ${this.name} has a machine ${name} already`);
      }
      return [...nodes, { name, index: freeIndex(nodes) }];
    });
    await this.startNode(name, signal);
  }

  /** Switches a node off and forgets it, in Kubernetes and on disk. */
  async removeNode(name: string): Promise<void> {
    const { kubectl } = await this.#load();
    await this.node(name);
    await this.machine(name).powerOff();
    await kubectl.run(['delete', 'node', name, '--ignore-not-found']);
    await rm(this.machine(name).directory, { recursive: true, force: true });
    await this.#changeNodes((nodes) => nodes.filter((node) => node.name !== name));
    await this.#ensureRoutes();
    this.#report(`${name}: removed`);
  }

  /**
   * A power cut of one node: every process on it ends at once, its disk stays. `up` leaves it off.
   */
  async stopNode(name: string): Promise<void> {
    await this.node(name);
    await this.#setOff(name, true);
    await this.machine(name).powerOff();
    this.#report(`${name}: off`);
  }

  /** Switches a node on and waits until it is Ready. */
  async startNode(name: string, signal?: AbortSignal): Promise<void> {
    await this.#setOff(name, false);
    const parts = await this.#load();
    const node = await this.node(name);
    await this.#bootNode(parts, node, signal);
    await this.#join(parts, [node], signal);
  }

  /** One node, also one that is off. */
  async node(name: string): Promise<ClusterNode> {
    const [node] = this.#nodes(await this.#load(), (candidate) => candidate.name === name);
    if (node === undefined) throw new Fault('not-found', `cluster ${this.name} has no node ${name}`);
    return node;
  }

  async controlPlane(): Promise<{ readonly machine: Machine; readonly programs: ControlPlane }> {
    return { machine: this.#controlPlaneMachine, programs: (await this.#load()).controlPlane };
  }

  async kubectl(): Promise<Kubectl> {
    return (await this.#load()).kubectl;
  }

  /** Imports an image archive on every node that is on. */
  async loadImages(archive: string, signal?: AbortSignal): Promise<void> {
    const nodes = this.#nodes(await this.#load(), ({ off }) => off !== true);
    await Promise.all(nodes.map((node) => node.runtime.load(resolve(archive), signal)));
  }

  async status(): Promise<ClusterStatus> {
    const parts = await this.#load();
    const nodes = this.#nodes(parts, () => true);
    return {
      directory: this.directory,
      server: parts.controlPlane.server,
      controlPlane: await parts.controlPlane.status(),
      nodes: await Promise.all(
        nodes.map(async (node) => ({
          name: node.name,
          address: node.address,
          running: await node.machine.running(),
        })),
      ),
    };
  }

  /** Keelson's programs in this cluster, however they run. */
  async keelson(): Promise<KeelsonPrograms> {
    return (await this.#load()).keelson;
  }

  async #ensureControlPlane(parts: Parts, signal?: AbortSignal): Promise<void> {
    const { controlPlane, pki } = parts;
    await controlPlane.ensure(signal);
    const admin = await controlPlane.adminCertificate();
    const config = await kubeconfig(controlPlane.server, pki.authority, admin);
    await writeFile(this.kubeconfig, config, { mode: 0o600 });
    this.#report('control plane: ready');
    await parts.keelson.install(signal);
  }

  /** All that a node can do before there is an API server. */
  async #bootNode({ addresses, archive }: Parts, node: ClusterNode, signal?: AbortSignal): Promise<void> {
    await node.machine.boot(signal);
    await ensureLink(this.#controlPlaneMachine, node.machine, node.address, addresses);
    await node.ensureRuntime(archive, signal);
    this.#report(`${node.name}: runtime ready`);
  }

  async #join(parts: Parts, nodes: readonly ClusterNode[], signal?: AbortSignal): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        await node.ensureKubelet(signal);
        await node.ensureNetwork(signal);
      }),
    );
    await this.#ensureRoutes(signal);
    const { keelson, cni } = parts.record.settings;
    if (keelson === 'processes' && cni === 'none') return;
    await Promise.all(
      nodes.map(async (node) => {
        await node.untilReady(signal);
        this.#report(`${node.name}: Ready`);
      }),
    );
  }

  /**
   * Every machine has routes to the pods of every node, as on a network whose nodes are neighbours.
   * Agents that are members of the cluster install them themselves.
   */
  async #ensureRoutes(signal?: AbortSignal): Promise<void> {
    const parts = await this.#load();
    const nodes = this.#nodes(parts, () => true);
    const podRanges = await readPodRanges(parts.kubectl, signal);
    const routes = nodes.flatMap(({ name, address }) => {
      const podRange = podRanges.get(name);
      return podRange === undefined ? [] : [{ node: name, podRange, via: address }];
    });
    const others = parts.keelson.routes ? [] : nodes;
    const machines = [this.#controlPlaneMachine, ...others.map(({ machine }) => machine)];
    await Promise.all(
      machines.map(async (machine) => {
        if (!(await machine.running())) return;
        await ensurePodRoutes(
          machine,
          routes.filter(({ node }) => node !== machine.name),
        );
      }),
    );
  }

  async #setOff(name: string, off: boolean): Promise<void> {
    await this.#changeNodes((nodes) => nodes.map((node) => (node.name === name ? { ...node, off } : node)));
  }

  /** One change at a time, so that none is lost when a test does several things at once. */
  async #changeNodes(change: (nodes: readonly NodeRecord[]) => readonly NodeRecord[]): Promise<void> {
    await this.#changes.run('nodes', async () => {
      const parts = await this.#load();
      const record = { ...parts.record, nodes: change(parts.record.nodes) };
      await writeRecord(this.directory, record);
      this.#parts = { ...parts, record };
    });
  }

  async #load(): Promise<Parts> {
    if (this.#parts !== undefined) return this.#parts;
    const record = await readRecord(this.directory);
    if (record === undefined)
      throw new Fault('not-found', `there is no cluster ${this.name}; bring it up first`);
    return await this.#prepare(record);
  }

  async #prepare(record: ClusterRecord): Promise<Parts> {
    await requirePrograms();
    const tools = await ensureKubernetes();
    const pki = new Pki(join(this.directory, 'pki'));
    await pki.ensureAuthority();
    const addresses = clusterAddresses(record.prefix);
    const { controllerQps, durable, containerd } = record.settings;
    const kubectl = new Kubectl(tools.kubectl, this.kubeconfig);
    const machine = this.#controlPlaneMachine;
    const controlPlane = new ControlPlane({ machine, addresses, pki, tools, controllerQps, durable });
    this.#parts = {
      record,
      addresses,
      pki,
      tools,
      kubectl,
      controlPlane,
      keelson: this.#programs(record, { server: controlPlane.server, pki, kubectl }),
      containerdBinDir: await ensureContainerdBinaries(this.directory, containerd),
      archive: await ensureImageArchive(this.directory),
    };
    return this.#parts;
  }

  #programs(
    { settings }: ClusterRecord,
    { server, pki, kubectl }: { readonly server: string; readonly pki: Pki; readonly kubectl: Kubectl },
  ): KeelsonPrograms {
    const { poolSize } = settings;
    if (settings.keelson === 'shipped') {
      return new KeelsonPods(
        { directory: this.directory, poolSize, cgroupPrefix: `/${this.#cgroup('')}` },
        { kubectl },
      );
    }
    const { cni, controller } = settings;
    const controlPlane = this.#controlPlaneMachine;
    return new KeelsonProcesses({ cni, controller, poolSize, server }, { controlPlane, pki, kubectl });
  }

  #nodes(parts: Parts, select: (node: NodeRecord) => boolean): ClusterNode[] {
    const { record, addresses, controlPlane, containerdBinDir } = parts;
    const { proxy, kubeletFeatures } = record.settings;
    return record.nodes.filter(select).map(
      ({ name, index }) =>
        new ClusterNode(
          {
            machine: this.machine(name),
            address: addresses.node(index),
            proxy,
            containerdBinDir,
            server: controlPlane.server,
            // A cluster of an older record has none.
            kubeletFeatures: (kubeletFeatures ?? '').split(',').filter((name) => name !== ''),
          },
          parts,
        ),
    );
  }

  /** A node's machine, or `control-plane`; it may be off, or not be at all. */
  machine(name: string): Machine {
    return new Machine({
      name,
      directory: join(this.directory, 'machines', name),
      cgroup: this.#cgroup(name),
    });
  }

  /** No name has a dot: those of cluster `a` never begin like those of cluster `a-b`. */
  #cgroup(machine: string): string {
    return `keelson.${this.name}.${machine}`;
  }
}

function checkName(what: string, name: string): string {
  if (NAME.test(name)) return name;
  throw new Fault(
    'invalid',
    `${what} name ${JSON.stringify(name)} is not lower-case letters, digits and dashes, at most 32`,
  );
}
