import { readFile } from 'node:fs/promises';
import type { AgentNode, KeelsonPrograms } from './keelson.ts';
import {
  administratorKubeconfig,
  CONTROLLER,
  ensureController,
  installKinds,
  stopController,
} from './keelson-controller.ts';
import type { Kubectl } from './kubectl.ts';
import type { Machine } from './machine.ts';
import type { Pki } from './pki.ts';
import { type CniChoice, ensurePodNetwork, type Membership, stopAgent } from './pod-network.ts';

export interface KeelsonProcessesOptions {
  readonly cni: CniChoice;
  /** Whether there is a controller, and agents are members of the cluster. */
  readonly controller: boolean;
  /** Size of the pool of each agent that is a member. */
  readonly poolSize: string;
  readonly server: string;
}

export interface KeelsonProcessesDeps {
  readonly controlPlane: Machine;
  readonly pki: Pki;
  readonly kubectl: Kubectl;
}

/**
 * Agents as processes of the nodes and the controller as one of the control plane, all of them
 * administrators.
 */
export class KeelsonProcesses implements KeelsonPrograms {
  readonly #options: KeelsonProcessesOptions;
  readonly #deps: KeelsonProcessesDeps;

  constructor(options: KeelsonProcessesOptions, deps: KeelsonProcessesDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  get startupTaint(): boolean {
    return this.#options.controller;
  }

  get routes(): boolean {
    return this.#options.controller && this.#options.cni === 'keelson';
  }

  async prepareNode(): Promise<void> {
    await Promise.resolve();
  }

  async install(signal?: AbortSignal): Promise<void> {
    if (!this.#options.controller) return;
    await installKinds(this.#deps.kubectl, signal);
    await this.startController();
  }

  async ensureAgent({ machine }: AgentNode, podRange: string, signal?: AbortSignal): Promise<void> {
    const membership = await this.#membership();
    await ensurePodNetwork(machine, this.#options.cni, podRange, { membership, signal });
  }

  async stopAgent({ machine }: AgentNode, graceMs?: number): Promise<void> {
    await stopAgent(machine, graceMs);
  }

  async killAgent(node: AgentNode, podRange: string): Promise<void> {
    await this.stopAgent(node, 0);
    await this.ensureAgent(node, podRange);
  }

  async startController(): Promise<void> {
    const { controlPlane: machine, pki, kubectl } = this.#deps;
    await ensureController({ machine, server: this.#options.server, pki, kubectl });
  }

  async stopController(graceMs?: number): Promise<void> {
    await stopController(this.#deps.controlPlane, graceMs);
  }

  async killController(): Promise<void> {
    await this.stopController(0);
    await this.startController();
  }

  async untilControllerRuns(): Promise<void> {
    await Promise.resolve();
  }

  async controllerLog(): Promise<string> {
    return await readFile(this.#deps.controlPlane.logFile(CONTROLLER), 'utf8');
  }

  async #membership(): Promise<Membership | undefined> {
    const { controller, poolSize, server } = this.#options;
    if (!controller) return undefined;
    const { pki } = this.#deps;
    return { poolSize, kubeconfig: await administratorKubeconfig('keelson-agent', { server, pki }) };
  }
}
