import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { formatBytes } from '../core/kube-text/quantity.ts';
import { BUSYBOX_IMAGE } from './busybox-image.ts';
import type { Narrator } from './narrator.ts';
import type { NodeLayout } from './node.ts';
import type { Pod, PodRuntime, PodSpec } from './pods.ts';
import type { DemoFindings } from './report.ts';
import type { CsiDriver, MountPaths, Snapshot, Volume } from './volumes.ts';

export interface StageOptions {
  readonly layout: NodeLayout;
  /** Also the cgroup of the pods. */
  readonly name: string;
  readonly signal: AbortSignal;
}

interface StageDeps {
  readonly narrator: Narrator;
  readonly csi: CsiDriver;
  readonly pods: PodRuntime;
  readonly findings: DemoFindings;
  /** Gets the release of everything made, to be run in reverse order. */
  readonly made: AsyncDisposableStack;
}

export interface RunningPod {
  readonly pod: Pod;
  readonly containerId: string;
}

const GIB = 2n ** 30n;
const NAMESPACE = 'demo';
/** Sleeps, ends at once on SIGTERM, and reaps. */
const IDLE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];
/** A call that is part of giving back: the signal that stops the story must not stop it. */
export const RELEASE = { timeoutMs: 15_000 };
/** What pod writer writes, in every pod that mounts the volume or its clone. */
export const DATA_FILE = '/data/log';

/** What the chapters have in common: volumes, mounts, pods and commands in them, each told and each given back at the end. */
export class Stage {
  readonly options: StageOptions;
  readonly deps: StageDeps;

  constructor(options: StageOptions, deps: StageDeps) {
    this.options = options;
    this.deps = deps;
  }

  /** Makes a volume of 1 GiB, empty or from a snapshot. */
  async makeVolume(name: string, snapshot: Snapshot | undefined): Promise<Volume> {
    const { narrator, csi, made, findings } = this.deps;
    const title = snapshot === undefined ? 'CreateVolume' : 'CreateVolume from the snapshot';
    const volume = await narrator.step(
      title,
      () => csi.createVolume(`demo-${name}`, GIB, snapshot?.id, this.call()),
      ({ id, sizeBytes }) => `${name}, ${formatBytes(sizeBytes)}, ${id}`,
    );
    made.defer(() => csi.deleteVolume(volume.id, RELEASE));
    findings.volumes.push({
      name,
      id: volume.id,
      sizeBytes: String(volume.sizeBytes),
      source: snapshot === undefined ? 'empty' : `snapshot ${snapshot.id}`,
    });
    if (volume.sizeBytes !== GIB) {
      throw new Fault(
        'precondition',
        `asked for a volume of exactly ${GIB} bytes and got one of ${volume.sizeBytes}`,
      );
    }
    return volume;
  }

  /** Where kubelet would mount it (`plugins/kubernetes.io/csi` and the pod's directory). */
  async mount(volume: Volume, podName: string): Promise<MountPaths> {
    const { narrator, csi, made } = this.deps;
    const { kubeletDir } = this.options.layout;
    const handle = createHash('sha256').update(volume.id).digest('hex');
    const paths = {
      staging: join(kubeletDir, 'plugins/kubernetes.io/csi/keelson.dev', handle, 'globalmount'),
      target: join(kubeletDir, 'pods', this.#podUid(podName), 'volumes/kubernetes.io~csi/data/mount'),
    };
    made.defer(() => csi.unmountVolume(volume.id, paths, RELEASE));
    await narrator.step(
      'NodeStageVolume, NodePublishVolume',
      () => csi.mountVolume(volume, paths, this.call()),
      () => `mounted for pod ${podName}`,
    );
    return paths;
  }

  /** Snapshots a volume. */
  async snapshot(volume: Volume): Promise<Snapshot> {
    const { narrator, csi, made } = this.deps;
    const snapshot = await narrator.step(
      'CreateSnapshot',
      () => csi.createSnapshot('demo-snapshot', volume.id, this.call()),
      ({ id, ready }) => `${id}, ${ready ? 'ready' : 'not ready yet'}`,
    );
    made.defer(() => csi.deleteSnapshot(snapshot.id, RELEASE));
    return snapshot;
  }

  /** Starts a pod with one container that idles, with the volume at /data if there is one. */
  async runPod(name: string, hostPath: string | undefined, volume: string): Promise<RunningPod> {
    const { narrator, pods, made, findings } = this.deps;
    const pod = await narrator.step(
      'RunPodSandbox',
      () => pods.runPod(this.podSpec(name), this.call()),
      ({ addresses }) => `${name} has ${addresses.join(', ')}`,
    );
    made.defer(() => pods.removePod(pod.sandboxId, RELEASE));
    findings.pods.push({ name, sandboxId: pod.sandboxId, addresses: pod.addresses, volume });
    const containerId = await narrator.step(
      'CreateContainer, StartContainer',
      () => this.startContainer(pod, 'main', hostPath),
      () => (hostPath === undefined ? name : `${name} with ${volume} at /data`),
    );
    return { pod, containerId };
  }

  /** Starts one more container of a pod; resolves with its id. */
  startContainer(pod: Pod, name: string, hostPath: string | undefined): Promise<string> {
    const mounts = hostPath === undefined ? [] : [{ hostPath, containerPath: '/data' }];
    return this.deps.pods.startContainer(
      pod,
      { name, image: BUSYBOX_IMAGE, command: IDLE, mounts },
      this.call(),
    );
  }

  /** Output of a shell command in a container, which must succeed. */
  async run(containerId: string, command: string): Promise<string> {
    const result = await this.deps.pods.exec(containerId, ['sh', '-c', command], this.call());
    if (result.exitCode !== 0) {
      throw new Fault(
        'precondition',
        `'${command}' in a container ended with ${result.exitCode}: ${(result.stderr || result.stdout).trim()}`,
      );
    }
    return result.stdout;
  }

  /** sha256 of the data file as the pod sees it. */
  async checksum(pod: RunningPod): Promise<string> {
    return (await this.run(pod.containerId, `sha256sum ${DATA_FILE}`)).split(' ')[0] ?? '';
  }

  /** The pod `name` of the demo. */
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

  /** Options of a call that the story waits for. */
  call(): { readonly signal: AbortSignal; readonly timeoutMs: number } {
    return { signal: this.options.signal, timeoutMs: 60_000 };
  }
}
