import { Fault } from '../core/fault.ts';
import type { CallOptions, RpcClient } from '../rpc/client.ts';

export interface PodSpec {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly cgroupParent: string;
  readonly logDirectory: string;
}

interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly mounts?: readonly { readonly hostPath: string; readonly containerPath: string }[];
}

/** A pod with a running sandbox. */
export interface Pod {
  readonly spec: PodSpec;
  readonly sandboxId: string;
  readonly addresses: readonly string[];
}

interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const SERVICE = 'runtime.v1.RuntimeService';

/** The CRI calls of kubelet for the life cycle of a pod. */
export class PodRuntime {
  readonly #client: RpcClient;

  constructor(client: RpcClient) {
    this.#client = client;
  }

  /** Starts a sandbox with its network. Rejects with `denied` if a policy denies it. */
  async runPod(spec: PodSpec, options: CallOptions): Promise<Pod> {
    const { pod_sandbox_id: sandboxId } = await this.#client.call(
      SERVICE,
      'RunPodSandbox',
      { config: sandboxConfig(spec) },
      options,
    );
    const { status } = await this.#client.call(
      SERVICE,
      'PodSandboxStatus',
      { pod_sandbox_id: sandboxId },
      options,
    );
    const network = status?.network;
    const addresses = [network?.ip ?? '', ...(network?.additional_ips ?? []).map(({ ip }) => ip)];
    if (addresses[0] === '') {
      throw new Fault(
        'precondition',
        `no address for pod ${spec.namespace}/${spec.name} in PodSandboxStatus`,
      );
    }
    return { spec, sandboxId, addresses };
  }

  /** Creates and starts a container; returns its id. */
  async startContainer(pod: Pod, spec: ContainerSpec, options: CallOptions): Promise<string> {
    const { container_id: id } = await this.#client.call(
      SERVICE,
      'CreateContainer',
      {
        pod_sandbox_id: pod.sandboxId,
        sandbox_config: sandboxConfig(pod.spec),
        config: {
          metadata: { name: spec.name, attempt: 0 },
          image: { image: spec.image, user_specified_image: spec.image },
          command: [...spec.command],
          labels: { ...identity(pod.spec), 'io.kubernetes.container.name': spec.name },
          mounts: (spec.mounts ?? []).map(({ hostPath, containerPath }) => ({
            host_path: hostPath,
            container_path: containerPath,
          })),
          log_path: `${spec.name}.log`,
          linux: {},
        },
      },
      options,
    );
    await this.#client.call(SERVICE, 'StartContainer', { container_id: id }, options);
    return id;
  }

  /** Runs a command in a container; resolves for every exit code. */
  async exec(
    containerId: string,
    command: readonly string[],
    { timeoutMs = 60_000, ...options }: CallOptions = {},
  ): Promise<ExecResult> {
    const result = await this.#client.call(
      SERVICE,
      'ExecSync',
      { container_id: containerId, cmd: [...command], timeout: String(Math.ceil(timeoutMs / 1000)) },
      { ...options, timeoutMs: timeoutMs + 5_000 },
    );
    return {
      exitCode: result.exit_code,
      stdout: result.stdout.toString('utf8'),
      stderr: result.stderr.toString('utf8'),
    };
  }

  /** Stops and removes a pod with its containers. Idempotent. */
  async removePod(sandboxId: string, options: CallOptions): Promise<void> {
    await this.#client.call(SERVICE, 'StopPodSandbox', { pod_sandbox_id: sandboxId }, options);
    await this.#client.call(SERVICE, 'RemovePodSandbox', { pod_sandbox_id: sandboxId }, options);
  }
}

function identity({ name, namespace, uid }: PodSpec): Record<string, string> {
  return {
    'io.kubernetes.pod.name': name,
    'io.kubernetes.pod.namespace': namespace,
    'io.kubernetes.pod.uid': uid,
  };
}

function sandboxConfig(spec: PodSpec): {
  metadata: { name: string; namespace: string; uid: string; attempt: number };
  hostname: string;
  labels: Record<string, string>;
  log_directory: string;
  linux: { cgroup_parent: string };
} {
  const { name, namespace, uid, labels, logDirectory, cgroupParent } = spec;
  return {
    metadata: { name, namespace, uid, attempt: 0 },
    hostname: name,
    labels: { ...identity(spec), ...labels },
    log_directory: logDirectory,
    linux: { cgroup_parent: cgroupParent },
  };
}
