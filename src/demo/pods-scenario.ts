import { Fault } from '../core/fault.ts';
import { formatBytes } from '../core/kube-text/quantity.ts';
import { runCommand } from '../runtime/child-process.ts';
import { inNetns } from './netns.ts';
import type { PingReport } from './report.ts';
import { DATA_FILE, type RunningPod, type DemoSession } from './session.ts';
import type { MountPaths, Volume } from './volumes.ts';

export interface WrittenVolume {
  readonly volume: Volume;
  readonly writer: RunningPod;
  /** sha256 of the written file. */
  readonly checksum: string;
}

/** Mounts a volume in a pod and fills it; pings the gateway, a second pod and the node. */
export async function showPods(session: DemoSession): Promise<WrittenVolume> {
  session.deps.progress.heading('A pod with a volume and a network');
  const volume = await session.createVolume('data', undefined);
  const paths = await session.mount(volume, 'writer');
  const writer = await session.runPod('writer', paths.target, 'data');
  const checksum = await write(session, writer);
  await reachOthers(session, writer);
  await overfill(session, writer, volume, paths);
  return { volume, writer, checksum };
}

async function write(session: DemoSession, writer: RunningPod): Promise<string> {
  return await session.deps.progress.step(
    'write to the volume in the container',
    async () => {
      await session.run(
        writer.containerId,
        `dd if=/dev/urandom of=${DATA_FILE} bs=1M count=8 && sync ${DATA_FILE}`,
      );
      return await session.checksum(writer);
    },
    (sum) => `8.0 MiB, sha256 ${sum.slice(0, 16)}…`,
  );
}

async function reachOthers(session: DemoSession, writer: RunningPod): Promise<void> {
  const gateway = (await session.run(writer.containerId, 'ip route show default')).split(' ')[2] ?? '';
  await ping(session, writer, gateway, 'its gateway');
  await pingFromNode(session, writer);
  const neighbour = await session.runPod('neighbour', undefined, 'none');
  await ping(session, writer, neighbour.pod.addresses[0] ?? '', 'pod neighbour');
  await ping(session, neighbour, writer.pod.addresses[0] ?? '', 'pod writer');
}

async function ping(session: DemoSession, from: RunningPod, to: string, what: string): Promise<void> {
  const ping = (): Promise<string> => session.run(from.containerId, `ping -c 1 -W 3 ${to}`);
  await reportPing(session, from.pod.spec.name, to, what, ping);
}

/** kubelet's probes use this path. */
async function pingFromNode(session: DemoSession, { pod }: RunningPod): Promise<void> {
  const { layout, signal } = session.options;
  const to = pod.addresses[0] ?? '';
  const { file, args } = inNetns(layout.netns, '/bin/busybox', ['ping', '-c', '1', '-W', '3', to]);
  await reportPing(session, 'the node', to, `pod ${pod.spec.name}`, async () => {
    return (await runCommand(file, args, { signal })).stdout;
  });
}

async function reportPing(
  session: DemoSession,
  from: string,
  to: string,
  what: string,
  ping: () => Promise<string>,
): Promise<void> {
  const report = await session.deps.progress.step(
    `${from} pings ${what}`,
    async (): Promise<PingReport> => {
      const milliseconds = Number(/time=([\d.]+) ms/.exec(await ping())?.[1]);
      return { from, to, what, milliseconds };
    },
    ({ milliseconds }) => `${to} in ${milliseconds} ms`,
  );
  session.deps.findings.pings.push(report);
}

/** Deletes the file before the snapshot, so that the clone has only the data file. */
async function overfill(
  session: DemoSession,
  writer: RunningPod,
  volume: Volume,
  { target }: MountPaths,
): Promise<void> {
  const { progress, pods, csi, findings } = session.deps;
  const attempt = 'dd if=/dev/zero of=/data/overfill bs=4M count=300';
  findings.overfill = await progress.step(
    'writes beyond the size of the volume fail',
    async () => {
      const result = await pods.exec(writer.containerId, ['sh', '-c', attempt], session.call());
      const error = /No space left on device|Disk quota exceeded/.exec(result.stderr)?.[0];
      if (result.exitCode === 0 || error === undefined) {
        throw new Fault(
          'precondition',
          `writing 1.2 GiB to a volume of 1 GiB: expected ENOSPC or EDQUOT, dd exited with ${result.exitCode}: ${result.stderr}`,
        );
      }
      const writtenBytes = Number(await session.run(writer.containerId, 'wc -c < /data/overfill'));
      const { usedBytes } = await csi.volumeUsage(volume.id, target, session.call());
      await session.run(writer.containerId, 'rm /data/overfill');
      const sizeBytes = Number(volume.sizeBytes);
      if (writtenBytes > sizeBytes) {
        throw new Fault('precondition', `volume of ${sizeBytes} bytes stored ${writtenBytes} bytes`);
      }
      return { error, writtenBytes, sizeBytes, statsUsedBytes: Number(usedBytes) };
    },
    ({ error, writtenBytes }) => `"${error}" after ${formatBytes(BigInt(writtenBytes))}`,
  );
}
