import { Fault } from '../core/fault.ts';
import type { WrittenVolume } from './pods-scenario.ts';
import type { RunningPod, DemoSession } from './session.ts';

/** Restores a snapshot to a second volume; a second pod reads what the first one wrote. */
export async function showClone(
  session: DemoSession,
  { volume, writer, checksum }: WrittenVolume,
): Promise<void> {
  session.deps.progress.heading('A snapshot and its clone');
  const snapshot = await session.snapshot(volume);
  const clone = await session.createVolume('data-clone', snapshot);
  const paths = await session.mount(clone, 'reader');
  const reader = await session.runPod('reader', paths.target, 'data-clone');
  await compare(session, writer, reader, checksum);
}

async function compare(
  session: DemoSession,
  writer: RunningPod,
  reader: RunningPod,
  written: string,
): Promise<void> {
  const { progress, findings } = session.deps;
  await progress.step(
    'pod reader reads what pod writer wrote',
    async () => {
      const readFromClone = await session.checksum(reader);
      findings.checksums = { written, readFromClone };
      if (readFromClone !== written) {
        throw new Fault('precondition', `the clone has sha256 ${readFromClone}, the volume ${written}`);
      }
      return readFromClone;
    },
    (sum) => `the same sha256 ${sum.slice(0, 16)}…`,
  );
  await progress.step('writes of pod reader stay in the clone', async () => {
    await session.run(reader.containerId, 'echo mine > /data/only-in-the-clone');
    await session.run(writer.containerId, 'test ! -e /data/only-in-the-clone');
  });
}
