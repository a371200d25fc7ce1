import { Fault } from '../core/fault.ts';
import { formatBytes } from '../core/kube-text/quantity.ts';
import { runCommand } from '../runtime/child-process.ts';
import { inNetns } from './netns.ts';
import type { PingReport } from './report.ts';
import { DATA_FILE, type RunningPod, type Stage } from './stage.ts';
import type { MountPaths, Volume } from './volumes.ts';

export interface WrittenVolume {
  readonly volume: Volume;
  readonly writer: RunningPod;
  /** Of what the pod wrote. */
  readonly checksum: string;
}

/** A pod mounts a volume and writes to it, up to its size; it reaches its gateway, a second pod and its node. */
export async function tellOfPods(stage: Stage): Promise<WrittenVolume> {
  stage.deps.narrator.heading('A pod with its volume and its network');
  const volume = await stage.makeVolume('data', undefined);
  const paths = await stage.mount(volume, 'writer');
  const writer = await stage.runPod('writer', paths.target, 'data');
  const checksum = await write(stage, writer);
  await reachOthers(stage, writer);
  await overfill(stage, writer, volume, paths);
  return { volume, writer, checksum };
}

async function write(stage: Stage, writer: RunningPod): Promise<string> {
  return await stage.deps.narrator.step(
    'the container writes to its volume',
    async () => {
      await stage.run(
        writer.containerId,
        `dd if=/dev/urandom of=${DATA_FILE} bs=1M count=8 && sync ${DATA_FILE}`,
      );
      return await stage.checksum(writer);
    },
    (sum) => `8.0 MiB, sha256 ${sum.slice(0, 16)}…`,
  );
}

async function reachOthers(stage: Stage, writer: RunningPod): Promise<void> {
  const gateway = (await stage.run(writer.containerId, 'ip route show default')).split(' ')[2] ?? '';
  await ping(stage, writer, gateway, 'its gateway');
  await pingFromNode(stage, writer);
  const neighbour = await stage.runPod('neighbour', undefined, 'none');
  await ping(stage, writer, neighbour.pod.addresses[0] ?? '', 'pod neighbour');
  await ping(stage, neighbour, writer.pod.addresses[0] ?? '', 'pod writer');
}

async function ping(stage: Stage, from: RunningPod, to: string, what: string): Promise<void> {
  const ping = (): Promise<string> => stage.run(from.containerId, `ping -c 1 -W 3 ${to}`);
  await reportPing(stage, from.pod.spec.name, to, what, ping);
}

/** What kubelet's probes need. */
async function pingFromNode(stage: Stage, { pod }: RunningPod): Promise<void> {
  const { layout, signal } = stage.options;
  const to = pod.addresses[0] ?? '';
  const { file, args } = inNetns(layout.netns, '/bin/busybox', ['ping', '-c', '1', '-W', '3', to]);
  await reportPing(stage, 'the node', to, `pod ${pod.spec.name}`, async () => {
    return (await runCommand(file, args, { signal })).stdout;
  });
}

async function reportPing(
  stage: Stage,
  from: string,
  to: string,
  what: string,
  ping: () => Promise<string>,
): Promise<void> {
  const report = await stage.deps.narrator.step(
    `${from} pings ${what}`,
    async (): Promise<PingReport> => {
      const milliseconds = Number(/time=([\d.]+) ms/.exec(await ping())?.[1]);
      return { from, to, what, milliseconds };
    },
    ({ milliseconds }) => `${to} answers in ${milliseconds} ms`,
  );
  stage.deps.findings.pings.push(report);
}

/** The file goes before the snapshot, so that the clone holds what the pod wrote and no more. */
async function overfill(
  stage: Stage,
  writer: RunningPod,
  volume: Volume,
  { target }: MountPaths,
): Promise<void> {
  const { narrator, pods, csi, findings } = stage.deps;
  const attempt = 'dd if=/dev/zero of=/data/overfill bs=4M count=300';
  findings.overfill = await narrator.step(
    'writing past the size of the volume fails',
    async () => {
      const result = await pods.exec(writer.containerId, ['sh', '-c', attempt], stage.call());
      const error = /No space left on device|Disk quota exceeded/.exec(result.stderr)?.[0];
      if (result.exitCode === 0 || error === undefined) {
        throw new Fault(
          'precondition',
          `1.2 GiB into a volume of 1 GiB must fail with ENOSPC or EDQUOT; dd ended with ${result.exitCode}: ${result.stderr}`,
        );
      }
      const writtenBytes = Number(await stage.run(writer.containerId, 'wc -c < /data/overfill'));
      const { usedBytes } = await csi.volumeUsage(volume.id, target, stage.call());
      await stage.run(writer.containerId, 'rm /data/overfill');
      const sizeBytes = Number(volume.sizeBytes);
      if (writtenBytes > sizeBytes) {
        throw new Fault('precondition', `a volume of ${sizeBytes} bytes took ${writtenBytes}`);
      }
      return { error, writtenBytes, sizeBytes, statsUsedBytes: Number(usedBytes) };
    },
    ({ error, writtenBytes }) => `"${error}" after ${formatBytes(BigInt(writtenBytes))}`,
  );
}
