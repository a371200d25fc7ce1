import { Fault } from '../../../src/core/fault.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { FileGroupChanger, VolumeFiles } from '../contract/volume-mounts.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import { SysError } from '../../linux/libc/libc.ts';

/** Volumes with at most this many files are changed on the shared kernel worker. */
const SHARED_WORKER_FILES = 512;
/** Limits the workers for larger volumes, one worker thread each. */
const MAX_WORKERS = 4;

/** Advice for errors that a retry does not resolve. */
const ADVICE: Readonly<
  Record<string, { readonly kind: 'precondition' | 'exhausted'; readonly advice: string }>
> = {
  EROFS: {
    kind: 'precondition',
    advice: "its file system has become read-only, and the kernel's log says why (dmesg)",
  },
  EPERM: {
    kind: 'precondition',
    advice: 'it is immutable or append-only; clear the attributes with chattr -i -a',
  },
  ENOSPC: { kind: 'exhausted', advice: 'the volume or its pool is full; expand it or delete files' },
  EDQUOT: { kind: 'exhausted', advice: 'the volume is full; expand it or delete files' },
};

export interface FileGroupsDeps {
  readonly kernel: Kernel;
  readonly startKernel: (options: { readonly name: string }) => Kernel;
  readonly logger: Logger;
}

/** Changes the group of a pool's volumes' files. Disposing interrupts it; the next call resumes. */
export class FileGroups implements FileGroupChanger, AsyncDisposable {
  readonly #deps: FileGroupsDeps;
  readonly #threads = new Set<Kernel>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #hasEnded = false;

  constructor(deps: FileGroupsDeps) {
    this.#deps = deps;
  }

  async ensure({ volumeId, root, path }: VolumeFiles, group: number): Promise<void> {
    const { kernel, logger } = this.#deps;
    try {
      if (await kernel.call('ensureFileGroup', root, path, group, SHARED_WORKER_FILES)) return;
      using _turn = await this.#turn();
      logger.info({ volumeId, group }, 'changing the group of a volume with many files');
      const thread = this.#start();
      try {
        await thread.call('ensureFileGroup', root, path, group);
      } finally {
        this.#threads.delete(thread);
        await thread[Symbol.asyncDispose]();
      }
    } catch (error) {
      throw explain(error, volumeId, group);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hasEnded = true;
    await Promise.all([...this.#threads].map((thread) => thread[Symbol.asyncDispose]()));
  }

  #start(): Kernel {
    if (this.#hasEnded) throw new Fault('unavailable', 'the pool is being closed; try again');
    const thread = this.#deps.startKernel({ name: 'keelson-group' });
    this.#threads.add(thread);
    return thread;
  }

  /** Waits for a free worker, in order of arrival. */
  async #turn(): Promise<Disposable> {
    if (this.#running >= MAX_WORKERS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    return {
      [Symbol.dispose]: () => {
        const next = this.#waiting.shift();
        if (next === undefined) this.#running -= 1;
        else next();
      },
    };
  }
}

function explain(error: unknown, volumeId: string, group: number): unknown {
  if (!(error instanceof SysError)) return error;
  const { kind, advice } = ADVICE[error.code] ?? { kind: Fault.from(error).kind, advice: undefined };
  const reason = advice === undefined ? '' : `: ${advice}`;
  return new Fault(
    kind,
    `cannot change the group of the files of volume ${volumeId} to ${group}: ${error.message}${reason}`,
    { fields: { volumeId, group }, cause: error },
  );
}
