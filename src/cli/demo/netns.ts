import { stat, writeFile } from 'node:fs/promises';
import { runCommand } from '../../runtime/child-process.ts';

/** Makes a network namespace whose loopback is up, kept alive by a mount at `file` until that is unmounted. */
export async function createNetns(file: string, signal?: AbortSignal): Promise<void> {
  await writeFile(file, '');
  await runCommand('unshare', [`--net=${file}`, 'ip', 'link', 'set', 'lo', 'up'], { signal });
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

/** The number that the kernel knows a namespace by, as in `net:[4026531840]`. */
export async function namespaceInode(file: string): Promise<string> {
  return String((await stat(file, { bigint: true })).ino);
}
