/**
 * Calls of a kernel worker that leave everything as it is, or only make lasting what is seen
 * already: a killed process shows no difference.
 */
const NO_EFFECT = /^(read|find|has|knows|wait)|^(syncFilesystem|flushDevice|startCommit)$/;

/** Whether an operation of a kernel worker changes what others see. */
export function isKernelEffect(operation: string): boolean {
  return !NO_EFFECT.test(operation);
}

/** Functions of node:fs/promises that change what others see; `open` does when it makes a file. */
export const FILE_EFFECTS = ['mkdir', 'rm', 'rmdir', 'unlink', 'rename', 'writeFile', 'chmod'] as const;

/** Methods of an open file that do. */
export const HANDLE_EFFECTS = ['truncate', 'write', 'writeFile', 'chmod'] as const;
