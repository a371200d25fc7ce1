import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { formatBytes } from '../core/kube-text/quantity.ts';
import { BUSYBOX_IMAGE } from './busybox-image.ts';
import type { ProgressReporter } from './progress-reporter.ts';
import type { NodeLayout } from './node.ts';
import type { Pod, PodRuntime, PodSpec } from './pods.ts';
import type { DemoFindings } from './report.ts';
import type { CsiDriver, MountPaths, Snapshot, Volume } from './volumes.ts';

export interface SessionOptions {
  readonly layout: NodeLayout;
  /** Name of the node and of the pods' cgroup. */
  readonly name: string;
  readonly signal: AbortSignal;
}

interface SessionDeps {
  readonly progress: ProgressReporter;
  readonly csi: CsiDriver;
  readonly pods: PodRuntime;
  readonly findings: DemoFindings;
  /** Releases created objects in reverse order. */
  readonly resources: AsyncDisposableStack;
}

export interface RunningPod {
  readonly pod: Pod;
  readonly containerId: string;
}

const GIB = 2n ** 30n;
const NAMESPACE = 'demo';
/** Idles, exits at once on SIGTERM, and reaps children. */
const IDLE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];
/** Options of releasing calls, which the signal of the run must not abort. */
export const RELEASE = { timeoutMs: 15_000 };
/** File that pod writer writes, at the same path in every pod. */
export const DATA_FILE = '/data/log';

/** Creates volumes, mounts and pods, reports each step, and registers each for release. */
export class DemoSession {
  readonly options: SessionOptions;
  readonly deps: SessionDeps;

  constructor(options: SessionOptions, deps: SessionDeps) {
    this.options = options;
    this.deps = deps;
  }

  /** Creates a volume of 1 GiB, empty or from a snapshot. */
  async createVolume(name: string, snapshot: Snapshot | undefined): Promise<Volume> {
    const { progress, csi, resources, findings } = this.deps;
    const title = snapshot === undefined ? 'CreateVolume' : 'CreateVolume from the snapshot';
    const volume = await progress.step(
      title,
      () => csi.createVolume(`demo-${name}`, GIB, snapshot?.id, this.call()),
      ({ id, sizeBytes }) => `${name}, ${formatBytes(sizeBytes)}, ${id}`,
    );
    resources.defer(() => csi.deleteVolume(volume.id, RELEASE));
    findings.volumes.push({
      name,
      id: volume.id,
      sizeBytes: String(volume.sizeBytes),
      source: snapshot === undefined ? 'empty' : `snapshot ${snapshot.id}`,
    });
    if (volume.sizeBytes !== GIB) {
      throw new Fault(
        'precondition',
        `requested a volume of ${GIB} bytes; the driver created ${volume.sizeBytes} bytes`,
      );
    }
    return volume;
  }

  /** Mounts a volume at kubelet's paths (`plugins/kubernetes.io/csi`, the pod's directory). */
  async mount(volume: Volume, podName: string): Promise<MountPaths> {
    const { progress, csi, resources } = this.deps;
    const { kubeletDir } = this.options.layout;
    const handle = createHash('sha256').update(volume.id).digest('hex');
    const paths = {
      staging: join(kubeletDir, 'plugins/kubernetes.io/csi/keelson.dev', handle, 'globalmount'),
      target: join(kubeletDir, 'pods', this.#podUid(podName), 'volumes/kubernetes.io~csi/data/mount'),
    };
    resources.defer(() => csi.unmountVolume(volume.id, paths, RELEASE));
    await progress.step(
      'NodeStageVolume, NodePublishVolume',
      () => csi.mountVolume(volume, paths, this.call()),
      () => `mounted for pod ${podName}`,
    );
    return paths;
  }

  /** Snapshots a volume. */
  async snapshot(volume: Volume): Promise<Snapshot> {
    const { progress, csi, resources } = this.deps;
    const snapshot = await progress.step(
      'CreateSnapshot',
      () => csi.createSnapshot('demo-snapshot', volume.id, this.call()),
      ({ id, ready }) => `${id}, ${ready ? 'ready' : 'not ready'}`,
    );
    resources.defer(() => csi.deleteSnapshot(snapshot.id, RELEASE));
    return snapshot;
  }

  /** Starts a pod with one idle container, with the volume at /data if given. */
  async runPod(name: string, hostPath: string | undefined, volume: string): Promise<RunningPod> {
    const { progress, pods, resources, findings } = this.deps;
    const pod = await progress.step(
      'RunPodSandbox',
      () => pods.runPod(this.podSpec(name), this.call()),
      ({ addresses }) => `${name} has ${addresses.join(', ')}`,
    );
    resources.defer(() => pods.removePod(pod.sandboxId, RELEASE));
    findings.pods.push({ name, sandboxId: pod.sandboxId, addresses: pod.addresses, volume });
    const containerId = await progress.step(
      'CreateContainer, StartContainer',
      () => this.startContainer(pod, 'main', hostPath),
      () => (hostPath === undefined ? name : `${name} with ${volume} at /data`),
    );
    return { pod, containerId };
  }

  /** Starts a container in a pod; resolves to its id. */
  startContainer(pod: Pod, name: string, hostPath: string | undefined): Promise<string> {
    const mounts = hostPath === undefined ? [] : [{ hostPath, containerPath: '/data' }];
    return this.deps.pods.startContainer(
      pod,
      { name, image: BUSYBOX_IMAGE, command: IDLE, mounts },
      this.call(),
    );
  }

  /** Runs a shell command in a container; resolves to its output, rejects if it fails. */
  async run(containerId: string, command: string): Promise<string> {
    const result = await this.deps.pods.exec(containerId, ['sh', '-c', command], this.call());
    if (result.exitCode !== 0) {
      throw new Fault(
        'precondition',
        `'${command}' in a container exited with ${result.exitCode}: ${(result.stderr || result.stdout).trim()}`,
      );
    }
    return result.stdout;
  }

  /** Returns the sha256 of the data file in a pod. */
  async checksum(pod: RunningPod): Promise<string> {
    return (await this.run(pod.containerId, `sha256sum ${DATA_FILE}`)).split(' ')[0] ?? '';
  }

  /** Returns the spec of pod `name`. */
  podSpec(name: string): PodSpec {
    return {
      name,
      namespace: NAMESPACE,
      uid: this.#podUid(name),
      cgroupParent: `/${this.options.name}`,
      logDirectory: join(this.options.layout.podLogDir, name),
    };
  }

  #podUid(name: string): string {
    const hex = createHash('sha256').update(`${this.options.name}/${name}`).digest('hex');
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
      '-',
    );
  }

  /** Returns the options of calls that the signal aborts. */
  call(): { readonly signal: AbortSignal; readonly timeoutMs: number } {
    return { signal: this.options.signal, timeoutMs: 60_000 };
  }
}
