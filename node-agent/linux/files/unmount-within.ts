import { isWithin } from '../../../src/core/volumes/mount-table.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { readMountTable } from './mount-table.ts';

/**
 * Unmounts everything at or beneath `directory`, the latest mount first, detaching what is busy.
 */
export async function unmountWithin(directory: string): Promise<void> {
  // A target may have several mounts, and unmounting can uncover others: repeat until none is left.
  for (let round = 0; round < 5; round += 1) {
    const targets = (await readMountTable())
      .map(({ mountPoint }) => mountPoint)
      .filter((target) => isWithin(target, directory));
    if (targets.length === 0) return;
    for (const target of targets.toReversed()) {
      await runCommand('umount', ['-n', target], { accept: [1, 32] });
      if (round > 0) await runCommand('umount', ['-n', '-l', target], { accept: [1, 32] });
    }
  }
}
