import { parentPort } from 'node:worker_threads';
import { isFault } from '../../../src/core/fault.ts';
import { type KernelOperation, kernelOperations } from './kernel-operations.ts';
import { SysError } from '../libc/libc.ts';

/** One call to a kernel worker; `id` pairs it with its reply. */
export interface KernelRequest {
  readonly id: number;
  readonly operation: KernelOperation;
  readonly args: readonly unknown[];
}

/** An error as sent to the main thread, with what callers classify it by. */
export type KernelError =
  | {
      readonly type: 'sys';
      readonly syscall: string;
      readonly errno: number;
      readonly subject: string | undefined;
    }
  | { readonly type: 'fault'; readonly kind: string; readonly message: string; readonly fields: object }
  | { readonly type: 'other'; readonly message: string; readonly stack: string | undefined };

export type KernelReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: KernelError };

function describe(error: unknown): KernelError {
  if (error instanceof SysError) {
    return { type: 'sys', syscall: error.syscall, errno: error.errno, subject: error.subject };
  }
  if (isFault(error)) {
    return { type: 'fault', kind: error.kind, message: error.message, fields: error.fields };
  }
  // An error of node:fs, whose code would be lost in structured cloning.
  if (isErrno(error)) {
    return { type: 'sys', syscall: error.syscall, errno: Math.abs(error.errno), subject: error.path };
  }
  if (error instanceof Error) return { type: 'other', message: error.message, stack: error.stack };
  return { type: 'other', message: String(error), stack: undefined };
}

interface ErrnoError extends Error {
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
}

function isErrno(error: unknown): error is ErrnoError {
  if (!(error instanceof Error) || !('errno' in error) || !('syscall' in error)) return false;
  return typeof error.errno === 'number' && typeof error.syscall === 'string';
}

const port = parentPort;
port?.on('message', ({ id, operation, args }: KernelRequest) => {
  try {
    const run = kernelOperations[operation] as (...input: readonly unknown[]) => unknown;
    port.postMessage({ id, result: run(...args) } satisfies KernelReply);
  } catch (error) {
    port.postMessage({ id, error: describe(error) } satisfies KernelReply);
  }
});
