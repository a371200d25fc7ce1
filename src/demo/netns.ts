import { writeFile } from 'node:fs/promises';
import { runCommand } from '../runtime/child-process.ts';

/** RFC 5737, TEST-NET-2; in the node's namespace only. */
const NODE_ADDRESS = '198.51.100.1';

/**
 * Creates a network namespace, mounted at `file`. Its loopback interface has the node's address:
 * the source of packets from the node to pods.
 */
export async function createNetns(file: string, signal?: AbortSignal): Promise<void> {
  await writeFile(file, '');
  const commands = `link set lo up\naddress add ${NODE_ADDRESS}/32 dev lo\n`;
  await runCommand('unshare', [`--net=${file}`, 'ip', '-batch', '-'], { signal, input: commands });
}

/**
 * Returns a command line that runs a program in a network namespace; nsenter keeps the process id.
 */
export function inNetns(
  netns: string | undefined,
  file: string,
  args: readonly string[],
): { readonly file: string; readonly args: readonly string[] } {
  return netns === undefined
    ? { file, args }
    : { file: 'nsenter', args: [`--net=${netns}`, '--', file, ...args] };
}
