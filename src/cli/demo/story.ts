import { createHash } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../../core/fault.ts';
import { runCommand } from '../../runtime/child-process.ts';
import { retry } from '../../runtime/retry.ts';
import { BUSYBOX_IMAGE } from './busybox-image.ts';
import type { Narrator } from './narrator.ts';
import { inNetns } from './netns.ts';
import type { NodeLayout } from './node.ts';
import type { Pod, PodRuntime, PodSpec } from './pods.ts';
import { DEMO_POLICY, DENIED_LABEL, POLICY_VARIABLE } from './policy.ts';
import { type DemoFindings, formatBytes, type PingReport } from './report.ts';
import type { CsiDriver, MountPaths, Snapshot, Volume } from './volumes.ts';

export interface StoryOptions {
  readonly layout: NodeLayout;
  /** Also the cgroup of the pods. */
  readonly name: string;
  readonly signal: AbortSignal;
}

export interface StoryDeps {
  readonly narrator: Narrator;
  readonly csi: CsiDriver;
  readonly pods: PodRuntime;
  readonly findings: DemoFindings;
  /** Gets the release of everything made, to be run in reverse order. */
  readonly made: AsyncDisposableStack;
}

const GIB = 2n ** 30n;
const NAMESPACE = 'demo';
/** Sleeps, ends at once on SIGTERM, and reaps. */
const IDLE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];
const DATA_FILE = '/data/log';
/** A call that is part of giving back: the signal that stops the story must not stop it. */
const RELEASE = { timeoutMs: 15_000 };

interface RunningPod {
  readonly pod: Pod;
  readonly containerId: string;
}

/** What an orchestrator would do, step by step: volume, pods, snapshot, clone and policy. Stops at the first thing that is not as it should be. */
export class Story {
  readonly #options: StoryOptions;
  readonly #deps: StoryDeps;

  constructor(options: StoryOptions, deps: StoryDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  async tell(): Promise<void> {
    const { narrator } = this.#deps;
    narrator.heading('A pod with its volume and its network');
    const volume = await this.#makeVolume('data', undefined);
    const paths = await this.#mount(volume, 'writer');
    const writer = await this.#runPod('writer', paths.target, 'data');
    const written = await this.#write(writer);
    await this.#reachOthers(writer);
    await this.#overfill(writer, volume, paths);

    narrator.heading('Its snapshot, and a clone of it');
    const snapshot = await this.#snapshot(volume);
    const clone = await this.#makeVolume('data-clone', snapshot);
    const clonePaths = await this.#mount(clone, 'reader');
    const reader = await this.#runPod('reader', clonePaths.target, 'data-clone');
    await this.#compare(writer, reader, written);

    narrator.heading('One runtime policy');
    await this.#applyPolicy(writer);
  }

  async #makeVolume(name: string, snapshot: Snapshot | undefined): Promise<Volume> {
    const { narrator, csi, made, findings } = this.#deps;
    const title = snapshot === undefined ? 'CreateVolume' : 'CreateVolume from the snapshot';
    const volume = await narrator.step(
      title,
      () => csi.createVolume(`demo-${name}`, GIB, snapshot?.id, this.#call()),
      ({ id, sizeBytes }) => `${name}, ${formatBytes(Number(sizeBytes))}, ${id}`,
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
  async #mount(volume: Volume, podName: string): Promise<MountPaths> {
    const { narrator, csi, made } = this.#deps;
    const { kubeletDir } = this.#options.layout;
    const handle = createHash('sha256').update(volume.id).digest('hex');
    const paths = {
      staging: join(kubeletDir, 'plugins/kubernetes.io/csi/keelson.dev', handle, 'globalmount'),
      target: join(kubeletDir, 'pods', this.#podUid(podName), 'volumes/kubernetes.io~csi/data/mount'),
    };
    made.defer(() => csi.unmountVolume(volume.id, paths, RELEASE));
    await narrator.step(
      'NodeStageVolume, NodePublishVolume',
      () => csi.mountVolume(volume, paths, this.#call()),
      () => `mounted for pod ${podName}`,
    );
    return paths;
  }

  async #runPod(name: string, hostPath: string | undefined, volume: string): Promise<RunningPod> {
    const { narrator, pods, made, findings } = this.#deps;
    const pod = await narrator.step(
      'RunPodSandbox',
      () => pods.runPod(this.#podSpec(name), this.#call()),
      ({ addresses }) => `${name} has ${addresses.join(', ')}`,
    );
    made.defer(() => pods.removePod(pod.sandboxId, RELEASE));
    findings.pods.push({ name, sandboxId: pod.sandboxId, addresses: pod.addresses, volume });
    const containerId = await narrator.step(
      'CreateContainer, StartContainer',
      () => this.#startContainer(pod, 'main', hostPath),
      () => (hostPath === undefined ? name : `${name} with ${volume} at /data`),
    );
    return { pod, containerId };
  }

  #startContainer(pod: Pod, name: string, hostPath: string | undefined): Promise<string> {
    const mounts = hostPath === undefined ? [] : [{ hostPath, containerPath: '/data' }];
    return this.#deps.pods.startContainer(
      pod,
      { name, image: BUSYBOX_IMAGE, command: IDLE, mounts },
      this.#call(),
    );
  }

  async #write(writer: RunningPod): Promise<string> {
    return await this.#deps.narrator.step(
      'the container writes to its volume',
      async () => {
        await this.#run(
          writer.containerId,
          `dd if=/dev/urandom of=${DATA_FILE} bs=1M count=8 && sync ${DATA_FILE}`,
        );
        return await this.#checksum(writer);
      },
      (sum) => `8.0 MiB, sha256 ${sum.slice(0, 16)}…`,
    );
  }

  async #reachOthers(writer: RunningPod): Promise<void> {
    const gateway = (await this.#run(writer.containerId, 'ip route show default')).split(' ')[2] ?? '';
    await this.#ping(writer, gateway, 'its gateway');
    await this.#pingFromNode(writer);
    const neighbour = await this.#runPod('neighbour', undefined, 'none');
    await this.#ping(writer, neighbour.pod.addresses[0] ?? '', 'pod neighbour');
    await this.#ping(neighbour, writer.pod.addresses[0] ?? '', 'pod writer');
  }

  async #ping(from: RunningPod, to: string, what: string): Promise<void> {
    const ping = (): Promise<string> => this.#run(from.containerId, `ping -c 1 -W 3 ${to}`);
    await this.#reportPing(from.pod.spec.name, to, what, ping);
  }

  /** What kubelet's probes need. */
  async #pingFromNode({ pod }: RunningPod): Promise<void> {
    const { layout, signal } = this.#options;
    const to = pod.addresses[0] ?? '';
    const { file, args } = inNetns(layout.netns, '/bin/busybox', ['ping', '-c', '1', '-W', '3', to]);
    await this.#reportPing('the node', to, `pod ${pod.spec.name}`, async () => {
      return (await runCommand(file, args, { signal })).stdout;
    });
  }

  async #reportPing(from: string, to: string, what: string, ping: () => Promise<string>): Promise<void> {
    const report = await this.#deps.narrator.step(
      `${from} pings ${what}`,
      async (): Promise<PingReport> => {
        const milliseconds = Number(/time=([\d.]+) ms/.exec(await ping())?.[1]);
        return { from, to, what, milliseconds };
      },
      ({ milliseconds }) => `${to} answers in ${milliseconds} ms`,
    );
    this.#deps.findings.pings.push(report);
  }

  /** The file goes before the snapshot, so that the clone holds what the pod wrote and no more. */
  async #overfill(writer: RunningPod, volume: Volume, { target }: MountPaths): Promise<void> {
    const { narrator, pods, csi, findings } = this.#deps;
    const attempt = 'dd if=/dev/zero of=/data/overfill bs=4M count=300';
    findings.overfill = await narrator.step(
      'writing past the size of the volume fails',
      async () => {
        const result = await pods.exec(writer.containerId, ['sh', '-c', attempt], this.#call());
        const error = /No space left on device|Disk quota exceeded/.exec(result.stderr)?.[0];
        if (result.exitCode === 0 || error === undefined) {
          throw new Fault(
            'precondition',
            `1.2 GiB into a volume of 1 GiB must fail with ENOSPC or EDQUOT; dd ended with ${result.exitCode}: ${result.stderr}`,
          );
        }
        const writtenBytes = Number(await this.#run(writer.containerId, 'wc -c < /data/overfill'));
        const { usedBytes } = await csi.volumeUsage(volume.id, target, this.#call());
        await this.#run(writer.containerId, 'rm /data/overfill');
        const sizeBytes = Number(volume.sizeBytes);
        if (writtenBytes > sizeBytes) {
          throw new Fault('precondition', `a volume of ${sizeBytes} bytes took ${writtenBytes}`);
        }
        return { error, writtenBytes, sizeBytes, statsUsedBytes: Number(usedBytes) };
      },
      ({ error, writtenBytes }) => `"${error}" after ${formatBytes(writtenBytes)}`,
    );
  }

  async #snapshot(volume: Volume): Promise<Snapshot> {
    const { narrator, csi, made } = this.#deps;
    const snapshot = await narrator.step(
      'CreateSnapshot',
      () => csi.createSnapshot('demo-snapshot', volume.id, this.#call()),
      ({ id, ready }) => `${id}, ${ready ? 'ready' : 'not ready yet'}`,
    );
    made.defer(() => csi.deleteSnapshot(snapshot.id, RELEASE));
    return snapshot;
  }

  async #compare(writer: RunningPod, reader: RunningPod, written: string): Promise<void> {
    const { narrator, findings } = this.#deps;
    await narrator.step(
      'pod reader reads what pod writer wrote',
      async () => {
        const readFromClone = await this.#checksum(reader);
        findings.checksums = { written, readFromClone };
        if (readFromClone !== written) {
          throw new Fault(
            'precondition',
            `the clone holds sha256 ${readFromClone}, the volume held ${written}`,
          );
        }
        return readFromClone;
      },
      (sum) => `the same sha256 ${sum.slice(0, 16)}…`,
    );
    await narrator.step('what reader writes stays in the clone', async () => {
      await this.#run(reader.containerId, 'echo mine > /data/only-in-the-clone');
      await this.#run(writer.containerId, 'test ! -e /data/only-in-the-clone');
    });
  }

  async #applyPolicy(writer: RunningPod): Promise<void> {
    const { narrator, findings } = this.#deps;
    const before = await narrator.step(
      'a container of a pod, before there is a policy',
      () => this.#variable(writer.containerId),
      (value) => `${POLICY_VARIABLE} is ${value}`,
    );
    await narrator.step(
      'a policy file for the proxy',
      () => this.#writePolicy(),
      () => `a variable for every container, no pod with the label ${DENIED_LABEL}`,
    );
    const denial = await narrator.step(
      'RunPodSandbox of a pod with that label is denied',
      () => this.#awaitDenial(),
      (message) => message,
    );
    const after = await narrator.step(
      'a new container has the variable',
      async () => {
        const containerId = await this.#startContainer(writer.pod, 'second', undefined);
        return await this.#variable(containerId);
      },
      (value) => `${POLICY_VARIABLE} is ${value}`,
    );
    findings.policy = { variable: POLICY_VARIABLE, before, after, denial };
    if (after === 'unset')
      throw new Fault('precondition', `the policy sets ${POLICY_VARIABLE}, and it is unset`);
  }

  /** Complete from the first moment, as an editor would save it. */
  async #writePolicy(): Promise<void> {
    const file = join(this.#options.layout.policiesDir, 'demo.yaml');
    await writeFile(`${file}~`, DEMO_POLICY);
    await rename(`${file}~`, file);
  }

  /** The proxy notices the file in a moment; until then such a pod is let through, and taken down again. */
  async #awaitDenial(): Promise<string> {
    const { pods } = this.#deps;
    const spec = { ...this.#podSpec('unwanted'), labels: { [DENIED_LABEL]: 'true' } };
    return await retry(
      async () => {
        try {
          const { sandboxId } = await pods.runPod(spec, this.#call());
          await pods.removePod(sandboxId, RELEASE);
        } catch (error) {
          if (isFault(error, 'denied')) return error.message;
          throw error;
        }
        throw new Fault(
          'precondition',
          `the policy denies pods with the label ${DENIED_LABEL}, and one was started`,
        );
      },
      { signal: this.#options.signal, attempts: 10, baseMs: 50, maxMs: 200 },
    );
  }

  async #variable(containerId: string): Promise<string> {
    return (await this.#run(containerId, `echo "\${${POLICY_VARIABLE}-unset}"`)).trim();
  }

  async #checksum(pod: RunningPod): Promise<string> {
    return (await this.#run(pod.containerId, `sha256sum ${DATA_FILE}`)).split(' ')[0] ?? '';
  }

  /** Output of a shell command in a container, which must succeed. */
  async #run(containerId: string, command: string): Promise<string> {
    const result = await this.#deps.pods.exec(containerId, ['sh', '-c', command], this.#call());
    if (result.exitCode !== 0) {
      throw new Fault(
        'precondition',
        `'${command}' in a container ended with ${result.exitCode}: ${(result.stderr || result.stdout).trim()}`,
      );
    }
    return result.stdout;
  }

  #podSpec(name: string): PodSpec {
    return {
      name,
      namespace: NAMESPACE,
      uid: this.#podUid(name),
      cgroupParent: `/${this.#options.name}`,
      logDirectory: join(this.#options.layout.podLogDir, name),
    };
  }

  #podUid(name: string): string {
    const hex = createHash('sha256').update(`${this.#options.name}/${name}`).digest('hex');
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
      '-',
    );
  }

  #call(): { readonly signal: AbortSignal; readonly timeoutMs: number } {
    return { signal: this.#options.signal, timeoutMs: 60_000 };
  }
}
