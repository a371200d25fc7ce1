import { writeFile } from 'node:fs/promises';
import { runCommand } from '../runtime/child-process.ts';

/** RFC 5737, TEST-NET-2: nobody's, and seen in a node's own namespace alone. */
const NODE_ADDRESS = '198.51.100.1';

/**
 * Makes a network namespace kept alive by a mount at `file` until that is unmounted. Its loopback is up and has the address of a node:
 * without one the kernel has no source for what the node itself sends to pods.
 */
export async function createNetns(file: string, signal?: AbortSignal): Promise<void> {
  await writeFile(file, '');
  const commands = `link set lo up\naddress add ${NODE_ADDRESS}/32 dev lo\n`;
  await runCommand('unshare', [`--net=${file}`, 'ip', '-batch', '-'], { signal, input: commands });
}

/** How to start a program in a network namespace: nsenter becomes it, so the process id is its own. */
export function inNetns(
  netns: string | undefined,
  file: string,
  args: readonly string[],
): { readonly file: string; readonly args: readonly string[] } {
  return netns === undefined
    ? { file, args }
    : { file: 'nsenter', args: [`--net=${netns}`, '--', file, ...args] };
}
