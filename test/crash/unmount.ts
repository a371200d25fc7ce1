import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import { runCommand } from '../../src/runtime/child-process.ts';

/**
 * Unmounts everything at and below a test's directory, the last mount first: pools that stay
 * mounted for pods, and leftovers of a failed test.
 */
export async function unmountBelow(directory: string): Promise<void> {
  const places = (await readMountTable()).map(({ mountPoint }) => mountPoint);
  for (const place of places.filter((each) => `${each}/`.startsWith(`${directory}/`)).reverse()) {
    await runCommand('umount', ['--lazy', place]);
  }
}
