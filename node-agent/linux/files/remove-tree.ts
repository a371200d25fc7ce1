import { stat } from 'node:fs/promises';
import { Fault } from '../../../src/core/fault.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { forPrograms } from './process-path.ts';
import { absent } from './absent.ts';

const REMOVAL_MS = 24 * 60 * 60 * 1_000;

/**
 * Removes a directory recursively, whatever a pod created in it: does not follow links, and handles
 * paths beyond PATH_MAX and immutable files. It may be absent.
 */
export async function removeTree(path: string): Promise<void> {
  if ((await stat(path).catch(absent)) === undefined) return;
  const tree = forPrograms(path);
  // rm walks by descriptors, and runs at the lowest priority.
  const remove = ['-n', '19', 'rm', '--recursive', '--force', '--one-file-system', '--', tree];
  try {
    await runCommand('nice', remove, { timeoutMs: REMOVAL_MS });
  } catch (error) {
    if (!(error instanceof Fault && error.kind === 'precondition')) throw error;
    await runCommand('chattr', ['-R', '-f', '-i', '-a', tree], { accept: [1], timeoutMs: REMOVAL_MS });
    await runCommand('nice', remove, { timeoutMs: REMOVAL_MS });
  }
}
