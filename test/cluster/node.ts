import { readFile } from 'node:fs/promises';
import { policiesDirectory } from '../../node-agent/kube/policy-files.ts';
import { Fault } from '../../src/core/fault.ts';
import { isServed } from '../../src/runtime/unix-socket.ts';
import type { KeelsonPrograms } from './keelson.ts';
import type { KubernetesTools } from './tools.ts';
import type { Kubectl } from './kubectl.ts';
import { KUBELET_FILES, kubeletConfig, kubeletDaemon, type KubeletOptions } from './kubelet.ts';
import type { Daemon, Machine } from './machine.ts';
import { kubeconfig, type Pki } from './pki.ts';
import { KEELSON } from './pod-network.ts';
import { CONTAINERD_SOCKET, Runtime } from './runtime.ts';
import { waitFor } from './wait.ts';

export interface NodeOptions {
  readonly machine: Machine;
  readonly address: string;
  /** Whether kubelet reaches the runtime through Keelson's proxy. */
  readonly proxy: boolean;
  readonly containerdBinDir: string | undefined;
  readonly server: string;
  readonly kubeletFeatures: readonly string[];
}

export interface NodeDeps {
  readonly pki: Pki;
  readonly kubectl: Kubectl;
  readonly tools: KubernetesTools;
  readonly keelson: KeelsonPrograms;
}

const PROXY_SOCKET = '/run/keelson/cri.sock';
const POLICIES = '/etc/keelson/policies';
const PROXY: Daemon = {
  name: 'keelson-cri-proxy',
  file: KEELSON,
  args: [
    ...['cri-proxy', '--listen', PROXY_SOCKET, '--runtime', CONTAINERD_SOCKET],
    ...['--policies', POLICIES, '--policies', policiesDirectory('/var/lib/keelson')],
  ],
};
interface PodList {
  readonly items: readonly { readonly metadata: { readonly uid: string } }[];
}

/** What is read of a Node object. */
interface NodeObject {
  readonly status: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
      readonly lastHeartbeatTime: string;
    }[];
  };
}

const READY_WITHIN_MS = 120_000;

/**
 * A machine with containerd, kubelet and what gives pods their network; Kubernetes knows it by the
 * machine's name.
 */
export class ClusterNode {
  readonly machine: Machine;
  readonly runtime: Runtime;
  readonly #options: NodeOptions;
  readonly #deps: NodeDeps;
  #kubeletStartedMs = 0;

  constructor(options: NodeOptions, deps: NodeDeps) {
    this.#options = options;
    this.#deps = deps;
    this.machine = options.machine;
    this.runtime = new Runtime(options.machine, options.containerdBinDir);
  }

  get name(): string {
    return this.machine.name;
  }

  get address(): string {
    return this.#options.address;
  }

  /**
   * Starts containerd with the images of `archive` and of Keelson, and the proxy before it. Needs
   * no API server.
   */
  async ensureRuntime(archive: string, signal?: AbortSignal): Promise<void> {
    await this.runtime.ensure(archive, signal);
    await this.#deps.keelson.prepareNode(this, signal);
    if (this.#options.proxy) await this.ensureProxy(signal);
  }

  async ensureProxy(signal?: AbortSignal): Promise<void> {
    const { machine } = this.#options;
    await machine.run('mkdir', ['-p', POLICIES], { signal });
    await machine.ensureDaemon(PROXY);
    const serves = async (): Promise<true | undefined> =>
      (await isServed(await machine.outside(PROXY_SOCKET))) ? true : undefined;
    await machine.untilServing(PROXY, serves, { signal });
  }

  /** Starts kubelet, which registers the node. */
  async ensureKubelet(signal?: AbortSignal): Promise<void> {
    const { machine } = this.#options;
    await this.#writeIdentity(signal);
    const kubelet = this.#kubelet();
    await machine.write(KUBELET_FILES.config, JSON.stringify(kubeletConfig(kubelet), undefined, 2));
    const nowMs = Date.now();
    if (await machine.ensureDaemon(kubeletDaemon(kubelet))) this.#kubeletStartedMs = nowMs;
  }

  /**
   * Waits for the range that Kubernetes gives the node, and for what gives pods of this node their
   * network; resolves with the range.
   */
  async ensureNetwork(signal?: AbortSignal): Promise<string> {
    const podRange = await this.#podRange(signal);
    await this.#deps.keelson.ensureAgent(this, podRange, signal);
    return podRange;
  }

  /**
   * Resolves when Kubernetes says that the node is Ready, and says it of the kubelet that runs now,
   * which has learnt of its pods.
   */
  async untilReady(signal?: AbortSignal): Promise<void> {
    const isReady = async (): Promise<true | undefined> => {
      const { status } = await this.#deps.kubectl.get<NodeObject>(['node', this.name], { signal });
      const ready = status.conditions?.find(({ type }) => type === 'Ready');
      const isNews = Date.parse(ready?.lastHeartbeatTime ?? '') > this.#kubeletStartedMs;
      if (ready?.status === 'True' && isNews) return true;
      throw new Fault('unavailable', ready?.message ?? 'its kubelet has said nothing yet');
    };
    const options = { timeoutMs: READY_WITHIN_MS, everyMs: 300, signal };
    await waitFor(`node ${this.name} becomes Ready`, isReady, options);
    await waitFor(`kubelet of ${this.name} knows its pods`, () => this.#knowsItsPods(signal), options);
  }

  /**
   * A kubelet is Ready before it has read which pods are its own, and answers until then that they
   * do not exist.
   */
  async #knowsItsPods(signal?: AbortSignal): Promise<true | undefined> {
    const { kubectl } = this.#deps;
    const running = `spec.nodeName=${this.name},status.phase=Running`;
    const wanted = await kubectl.get<PodList>(['pods', '-A', '--field-selector', running], { signal });
    const path = `/api/v1/nodes/${this.name}/proxy/pods`;
    const known = JSON.parse(await kubectl.run(['get', '--raw', path], { signal })) as Partial<PodList>;
    const uids = new Set(known.items?.map(({ metadata }) => metadata.uid));
    return wanted.items.every(({ metadata }) => uids.has(metadata.uid)) ? true : undefined;
  }

  async stopKubelet(): Promise<void> {
    await this.machine.stopDaemon(kubeletDaemon(this.#kubelet()));
  }

  async stopProxy(): Promise<void> {
    await this.machine.stopDaemon(PROXY);
  }

  /** SIGTERM for the agent, or SIGKILL with a grace of 0; `ensureNetwork` brings it back. */
  async stopAgent(graceMs?: number): Promise<void> {
    await this.#deps.keelson.stopAgent(this, graceMs);
  }

  /** SIGKILL for the agent; resolves when the next one serves. */
  async killAgent(): Promise<void> {
    await this.#deps.keelson.killAgent(this, await this.#podRange());
  }

  async #podRange(signal?: AbortSignal): Promise<string> {
    const { kubectl } = this.#deps;
    const node = `node/${this.name}`;
    await kubectl.wait(node, 'create', { signal, timeoutMs: READY_WITHIN_MS });
    await kubectl.wait(node, 'jsonpath={.spec.podCIDR}', { signal, timeoutMs: READY_WITHIN_MS });
    return (await kubectl.get<{ spec: { podCIDR: string } }>([node], { signal })).spec.podCIDR;
  }

  #kubelet(): KubeletOptions {
    const { machine, address, proxy } = this.#options;
    return {
      binary: this.#deps.tools.kubelet,
      nodeName: machine.name,
      address,
      cgroupRoot: machine.cgroupPath,
      criSocket: proxy ? PROXY_SOCKET : CONTAINERD_SOCKET,
      startupTaint: this.#deps.keelson.startupTaint,
      features: this.#options.kubeletFeatures,
    };
  }

  /**
   * One certificate for both: a client of the API server as the node, and a server for `kubectl
   * exec`.
   */
  async #writeIdentity(signal?: AbortSignal): Promise<void> {
    const { pki } = this.#deps;
    const { machine, address, server } = this.#options;
    const certificate = await pki.ensureCertificate({
      name: `node-${machine.name}-${address}`,
      user: `system:node:${machine.name}`,
      groups: ['system:nodes'],
      serves: [`DNS:${machine.name}`, `IP:${address}`],
    });
    signal?.throwIfAborted();
    await machine.write(KUBELET_FILES.kubeconfig, await kubeconfig(server, pki.authority, certificate));
    await machine.write(KUBELET_FILES.authority, await readFile(pki.authority));
    await machine.write(KUBELET_FILES.certificate, await readFile(certificate.certificate));
    await machine.write(KUBELET_FILES.key, await readFile(certificate.key));
  }
}
