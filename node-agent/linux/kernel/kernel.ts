import { Worker } from 'node:worker_threads';
import { Fault, type FaultFields, type FaultKind } from '../../../src/core/fault.ts';
import type { KernelOperation, KernelOperations } from './kernel-operations.ts';
import type { KernelError, KernelReply, KernelRequest } from './kernel-worker.ts';
import { SysError } from '../libc/libc.ts';

/** Runs blocking system calls on a worker thread, in order of the calls. */
export interface Kernel extends AsyncDisposable {
  /**
   * Rejects with the operation's SysError or Fault, and when the kernel is disposed during the
   * call.
   */
  call<O extends KernelOperation>(
    operation: O,
    ...args: Parameters<KernelOperations[O]>
  ): Promise<ReturnType<KernelOperations[O]>>;
}

const WORKER_FILE = import.meta.url.endsWith('.ts') ? './kernel-worker.ts' : './kernel-worker.mjs';

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Starts a worker thread, listed by `name`. Disposing terminates it. */
export function startKernel({ name }: { readonly name: string }): Kernel {
  const pending = new Map<number, Pending>();
  const worker = new Worker(new URL(WORKER_FILE, import.meta.url), { name });
  let nextId = 1;
  let ended: Fault | undefined;

  const end = (fault: Fault): void => {
    ended ??= fault;
    for (const { reject } of pending.values()) reject(ended);
    pending.clear();
    worker.unref();
  };
  worker.unref();
  worker.on('message', (reply: KernelReply) => {
    const call = pending.get(reply.id);
    if (call === undefined) return;
    pending.delete(reply.id);
    if (pending.size === 0) worker.unref();
    if ('error' in reply) call.reject(revive(reply.error));
    else call.resolve(reply.result);
  });
  worker.on('error', (error) => end(new Fault('bug', `kernel worker ${name} failed`, { cause: error })));
  worker.on('exit', () => end(new Fault('unavailable', `kernel worker ${name} has ended`)));

  return {
    call: (operation, ...args) => {
      if (ended !== undefined) return Promise.reject(ended);
      const id = nextId++;
      return new Promise((resolve, reject) => {
        pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
        worker.ref();
        worker.postMessage({ id, operation, args } satisfies KernelRequest);
      });
    },
    async [Symbol.asyncDispose]() {
      await worker.terminate();
    },
  };
}

function revive(error: KernelError): Error {
  switch (error.type) {
    case 'sys':
      return new SysError(error.syscall, error.errno, error.subject);
    case 'fault':
      return new Fault(error.kind as FaultKind, error.message, { fields: error.fields as FaultFields });
    case 'other': {
      const revived = new Error(error.message);
      if (error.stack !== undefined) revived.stack = error.stack;
      return revived;
    }
  }
}
