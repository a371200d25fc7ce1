import { readFile, stat } from 'node:fs/promises';
import { listProcesses, type ProcessEntry } from '../../src/demo/processes.ts';
import { Fault } from '../../src/core/fault.ts';
import { endProcess } from '../../src/runtime/child-process.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import type { AgentNode, KeelsonPrograms } from './keelson.ts';
import type { Kubectl } from './kubectl.ts';
import {
  applyShipped,
  ensureKeelsonImage,
  NAMESPACE,
  type ShippedOptions,
  untilAgentServes,
  untilControllerRuns,
} from './shipped.ts';
import { waitFor } from './wait.ts';

export interface KeelsonPodsOptions extends ShippedOptions {
  /** Path beneath which the cgroups of the cluster's machines are, e.g. `/keelson.test.`. */
  readonly cgroupPrefix: string;
}

export interface KeelsonPodsDeps {
  readonly kubectl: Kubectl;
}

/** Which image the node's containerd has; it lasts as long as that. */
const IMAGE_RECORD = '/var/lib/containerd/keelson-image';
const IN_NAMESPACE = ['--namespace', NAMESPACE] as const;
const AGENTS = ['daemonset/keelson-agent', ...IN_NAMESPACE] as const;
const CONTROLLERS = ['deployment/keelson-controller', ...IN_NAMESPACE] as const;
const CONTROLLER_PODS = [...IN_NAMESPACE, '--selector', 'app.kubernetes.io/component=controller'] as const;
const LEASE = 'lease/keelson-controller';
const AT_ONCE = ['--force', '--grace-period=0'] as const;
const HOST_NAME = 'kubernetes.io/hostname';
const GONE_WITHIN_MS = 120_000;
const LEADS_WITHIN_MS = 120_000;

interface Lease {
  readonly spec: { readonly holderIdentity?: string };
}

interface AgentSet {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly affinity?: {
          readonly nodeAffinity: {
            readonly requiredDuringSchedulingIgnoredDuringExecution: {
              readonly nodeSelectorTerms: readonly {
                readonly matchExpressions: readonly { readonly values: readonly string[] }[];
              }[];
            };
          };
        };
      };
    };
  };
}

/**
 * What users get: agents and controllers as the pods of `deploy/`, with the rights that it gives
 * them.
 */
export class KeelsonPods implements KeelsonPrograms {
  readonly startupTaint = true;
  readonly routes = true;
  readonly #options: KeelsonPodsOptions;
  readonly #deps: KeelsonPodsDeps;
  readonly #changes = new KeyedLock();

  constructor(options: KeelsonPodsOptions, deps: KeelsonPodsDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  async prepareNode({ machine, runtime }: AgentNode, signal?: AbortSignal): Promise<void> {
    const archive = await this.#changes.run('image', () => ensureKeelsonImage());
    const { mtimeMs } = await stat(archive);
    const loaded = await readFile(await machine.outside(IMAGE_RECORD), 'utf8').catch(() => '');
    if (loaded === String(mtimeMs)) return;
    await runtime.load(archive, signal);
    await machine.write(IMAGE_RECORD, String(mtimeMs));
  }

  async install(signal?: AbortSignal): Promise<void> {
    await applyShipped(this.#options, this.#deps.kubectl, signal);
  }

  async ensureAgent({ name, machine }: AgentNode, _podRange: string, signal?: AbortSignal): Promise<void> {
    await this.#keepAway((names) => names.filter((away) => away !== name));
    await untilAgentServes({ name, machine }, signal);
  }

  async stopAgent({ name, machine }: AgentNode, graceMs?: number): Promise<void> {
    const process = agentOf(name);
    const found = await machine.findDaemon(process);
    if (graceMs === 0 && found !== undefined) await endProcess(found.pid, { graceMs });
    // kubelet starts what was killed again at once, until its pod is no longer wanted.
    await this.#keepAway((names) => [...new Set([...names, name])]);
    const deleted = async (): Promise<true | undefined> => {
      const pods = await this.#podNames(agentPodsOf(name));
      return pods.length === 0 && (await machine.findDaemon(process)) === undefined ? true : undefined;
    };
    await waitFor(`${name} has no agent`, deleted, { timeoutMs: GONE_WITHIN_MS, everyMs: 200 });
  }

  async killAgent({ name, machine }: AgentNode): Promise<void> {
    const found = await machine.findDaemon(agentOf(name));
    if (found === undefined) throw new Fault('precondition', `${name} has no agent that could be killed`);
    await endProcess(found.pid, { graceMs: 0 });
    // Of a pod that is killed again and again kubelet waits longer each time; a new pod starts at
    // once.
    await this.#deps.kubectl.run(['delete', 'pods', ...agentPodsOf(name), ...AT_ONCE]);
    await untilAgentServes({ name, machine });
  }

  async startController(signal?: AbortSignal): Promise<void> {
    await this.#deps.kubectl.run(['scale', ...CONTROLLERS, '--replicas=2'], { signal });
    await this.untilControllerRuns(signal);
  }

  async stopController(graceMs?: number): Promise<void> {
    const { kubectl } = this.#deps;
    const kill = graceMs === 0;
    if (kill)
      await Promise.all((await this.#controllers()).map(({ pid }) => endProcess(pid, { graceMs: 0 })));
    await kubectl.run(['scale', ...CONTROLLERS, '--replicas=0']);
    if (kill) await kubectl.run(['delete', 'pods', ...CONTROLLER_PODS, ...AT_ONCE]);
    const deleted = async (): Promise<true | undefined> =>
      (await this.#podNames(CONTROLLER_PODS)).length === 0 && (await this.#controllers()).length === 0
        ? true
        : undefined;
    await waitFor('no controller is left', deleted, { timeoutMs: GONE_WITHIN_MS, everyMs: 200 });
    if (kill) await this.#endLease();
  }

  async killController(): Promise<void> {
    const { kubectl } = this.#deps;
    // A predecessor may still hold the lease for a moment, in a deleted pod.
    const { leader, pid } = await waitFor('a controller leads', () => this.#leading(), {
      timeoutMs: LEADS_WITHIN_MS,
      everyMs: 200,
    });
    await endProcess(pid, { graceMs: 0 });
    await this.#endLease();
    const now = [...AT_ONCE, '--wait=false', '--ignore-not-found'];
    await kubectl.run(['delete', `pod/${leader}`, ...IN_NAMESPACE, ...now]);
    const next = async (): Promise<true | undefined> =>
      (await this.#leader()) === leader ? undefined : true;
    await waitFor('another controller leads', next, { timeoutMs: LEADS_WITHIN_MS, everyMs: 200 });
  }

  async untilControllerRuns(signal?: AbortSignal): Promise<void> {
    await untilControllerRuns(this.#deps.kubectl, signal);
  }

  async controllerLog(): Promise<string> {
    const all = ['--tail=-1', '--max-log-requests=10'];
    return await this.#deps.kubectl.run(['logs', ...CONTROLLER_PODS, ...all]);
  }

  /**
   * A killed leader has not released its lease, and others would wait for its expiry: other tests
   * show that they do.
   */
  async #endLease(): Promise<void> {
    await this.#deps.kubectl.run(['delete', LEASE, ...IN_NAMESPACE, '--ignore-not-found']);
  }

  /** Name of the pod that leads. Rejects when none does. */
  async #leader(): Promise<string> {
    const { spec } = await this.#deps.kubectl.get<Lease>([LEASE, ...IN_NAMESPACE]);
    const [pod = ''] = (spec.holderIdentity ?? '').split('_');
    if (pod === '') throw new Fault('unavailable', 'no controller leads');
    return pod;
  }

  /** The pod that leads, and its process. Rejects when none does, or not any more. */
  async #leading(): Promise<{ readonly leader: string; readonly pid: number }> {
    const leader = await this.#leader();
    const pod = [`pod/${leader}`, ...IN_NAMESPACE];
    const { metadata } = await this.#deps.kubectl.get<{ metadata: { uid: string } }>(pod);
    const processes = await this.#controllers();
    const found = processes.find(({ cgroups }) => cgroups.some((path) => path.includes(metadata.uid)));
    if (found === undefined) throw new Fault('precondition', `${leader}, which leads, does not run`);
    return { leader, pid: found.pid };
  }

  /**
   * Changes the nodes that the DaemonSet leaves out. Its pods elsewhere stay as they are meanwhile
   * (OnDelete); when none is left out it is as it was applied.
   */
  async #keepAway(change: (names: readonly string[]) => readonly string[]): Promise<void> {
    const { kubectl } = this.#deps;
    await this.#changes.run('agents', async () => {
      const { spec } = await kubectl.get<AgentSet>([...AGENTS]);
      const { requiredDuringSchedulingIgnoredDuringExecution: required } =
        spec.template.spec.affinity?.nodeAffinity ?? {};
      const names = required?.nodeSelectorTerms[0]?.matchExpressions[0]?.values ?? [];
      const wanted = change(names);
      if (wanted.join() === names.join()) return;
      await this.#patchAgents(wanted.length === 0 ? null : affinityAwayFrom(wanted));
      if (wanted.length === 0) await this.install();
    });
  }

  async #patchAgents(affinity: object | null): Promise<void> {
    const updateStrategy = { type: 'OnDelete', rollingUpdate: null };
    const patch = JSON.stringify({ spec: { updateStrategy, template: { spec: { affinity } } } });
    await this.#deps.kubectl.run(['patch', ...AGENTS, '--type=merge', '--patch', patch]);
  }

  async #podNames(selection: readonly string[]): Promise<readonly string[]> {
    const { kubectl } = this.#deps;
    return (await kubectl.run(['get', 'pods', ...selection, '--output=name'])).split('\n').filter(Boolean);
  }

  /** The processes of all controllers, on whatever machine of this cluster. */
  async #controllers(): Promise<readonly ProcessEntry[]> {
    return (await listProcesses()).filter(
      ({ args, cgroups }) =>
        args.at(-2) === 'controller' && cgroups.some((path) => path.startsWith(this.#options.cgroupPrefix)),
    );
  }
}

function agentPodsOf(node: string): readonly string[] {
  const selector = ['--selector', 'app.kubernetes.io/component=agent'];
  return [...IN_NAMESPACE, ...selector, '--field-selector', `spec.nodeName=${node}`];
}

/** How the command line of a node's agent ends. */
export function agentOf(node: string): { readonly args: readonly string[] } {
  return { args: ['agent', '--config=/etc/keelson/agent.yaml', `--node-name=${node}`] };
}

function affinityAwayFrom(names: readonly string[]): object {
  const elsewhere = { matchExpressions: [{ key: HOST_NAME, operator: 'NotIn', values: names }] };
  return {
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [elsewhere] } },
  };
}
