import { Fault } from '../../../src/core/fault.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { FileGroupChanger, VolumeFiles } from '../contract/volume-mounts.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import { SysError } from '../../linux/libc/libc.ts';

/** With so few in it, a volume does not keep the others waiting. */
const FEW = 512;
/** Each takes a thread; they share the disk in any case. */
const AT_ONCE = 4;

/** What can be done about errors that do not go away by themselves. */
const CAUSES: Readonly<
  Record<string, { readonly kind: 'precondition' | 'exhausted'; readonly advice: string }>
> = {
  EROFS: {
    kind: 'precondition',
    advice: "its file system has become read-only, and the kernel's log says why (dmesg)",
  },
  EPERM: {
    kind: 'precondition',
    advice: 'it is marked immutable or append-only; chattr -i -a takes that away',
  },
  ENOSPC: { kind: 'exhausted', advice: 'the volume or its pool is full; expand it or remove something' },
  EDQUOT: { kind: 'exhausted', advice: 'the volume is full; expand it or remove something' },
};

export interface FileGroupsDeps {
  readonly kernel: Kernel;
  readonly startKernel: (options: { readonly name: string }) => Kernel;
  readonly logger: Logger;
}

/**
 * Gives the files of a pool's volumes to groups. Disposing ends what is under way: the next call
 * goes on from there.
 */
export class FileGroups implements FileGroupChanger, AsyncDisposable {
  readonly #deps: FileGroupsDeps;
  readonly #threads = new Set<Kernel>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #hasEnded = false;

  constructor(deps: FileGroupsDeps) {
    this.#deps = deps;
  }

  /**
   * Ensures that all files are the group's (`ensureFileGroup`). Throws with the path of the one
   * that cannot be.
   */
  async ensure({ volumeId, root, path }: VolumeFiles, group: number): Promise<void> {
    const { kernel, logger } = this.#deps;
    try {
      if (await kernel.call('ensureFileGroup', root, path, group, FEW)) return;
      using _turn = await this.#turn();
      logger.info({ volumeId, group }, 'a volume with many files is given to a group');
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

  /** First come, first served. */
  async #turn(): Promise<Disposable> {
    if (this.#running >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
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
  const { kind, advice } = CAUSES[error.code] ?? { kind: Fault.from(error).kind, advice: undefined };
  const reason = advice === undefined ? '' : `: ${advice}`;
  return new Fault(
    kind,
    `the files of volume ${volumeId} cannot be given to group ${group}: ${error.message}${reason}`,
    { fields: { volumeId, group }, cause: error },
  );
}
