import { Fault } from '../core/fault.ts';
import type { WrittenVolume } from './pods-chapter.ts';
import type { RunningPod, Stage } from './stage.ts';

/** A snapshot of the volume becomes a volume of its own, in which a second pod finds what the first one wrote. */
export async function tellOfClone(stage: Stage, { volume, writer, checksum }: WrittenVolume): Promise<void> {
  stage.deps.narrator.heading('Its snapshot, and a clone of it');
  const snapshot = await stage.snapshot(volume);
  const clone = await stage.makeVolume('data-clone', snapshot);
  const paths = await stage.mount(clone, 'reader');
  const reader = await stage.runPod('reader', paths.target, 'data-clone');
  await compare(stage, writer, reader, checksum);
}

async function compare(stage: Stage, writer: RunningPod, reader: RunningPod, written: string): Promise<void> {
  const { narrator, findings } = stage.deps;
  await narrator.step(
    'pod reader reads what pod writer wrote',
    async () => {
      const readFromClone = await stage.checksum(reader);
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
    await stage.run(reader.containerId, 'echo mine > /data/only-in-the-clone');
    await stage.run(writer.containerId, 'test ! -e /data/only-in-the-clone');
  });
}
