import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import { runCommand } from '../../src/runtime/child-process.ts';

/**
 * Unmounts all at and below a directory of a test, the last mount first: pools that are left to
 * pods, and what a test that failed has left.
 */
export async function unmountBelow(directory: string): Promise<void> {
  const places = (await readMountTable()).map(({ mountPoint }) => mountPoint);
  for (const place of places.filter((each) => `${each}/`.startsWith(`${directory}/`)).reverse()) {
    await runCommand('umount', ['--lazy', place]);
  }
}
