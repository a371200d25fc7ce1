/**
 * Calls of a kernel worker that change nothing, or only make visible changes durable: a kill before
 * them makes no difference.
 */
const NO_EFFECT = /^(read|find|has|knows|wait)|^(syncFilesystem|flushDevice|startCommit)$/;

/** Whether an operation of a kernel worker has a lasting effect. */
export function isKernelEffect(operation: string): boolean {
  return !NO_EFFECT.test(operation);
}

/** Functions of node:fs/promises with a lasting effect; `open` has one if it creates a file. */
export const FILE_EFFECTS = ['mkdir', 'rm', 'rmdir', 'unlink', 'rename', 'writeFile', 'chmod'] as const;

/** Methods of an open file with a lasting effect. */
export const HANDLE_EFFECTS = ['truncate', 'write', 'writeFile', 'chmod'] as const;
