import { randomUUID } from 'node:crypto';
import { constants, type BigIntStats } from 'node:fs';
import { type FileHandle, lstat, open, opendir, rename, rmdir, unlink } from 'node:fs/promises';
import type { RemovalBudget } from './removal-budget.ts';
import { removeTree } from './remove-tree.ts';
import { absent } from './absent.ts';
import { removeTrashFile } from './trash-file.ts';

/**
 * What a name and its inode cost the file system's journal, about: a run of many small files ends
 * too.
 */
export const ENTRY_BYTES = 4096n;
/** Smaller files are freed in one go. */
const LARGE_BYTES = 16n << 20n;
/**
 * A directory below this many others is moved up, so that no tree needs more open descriptors than
 * these.
 */
const MAX_DEPTH = 64;
/**
 * Marked immutable, mounted on, of another project, or not empty for such a reason: what
 * `removeTree` is for.
 */
const OBSTINATE = ['EPERM', 'EBUSY', 'EXDEV', 'ENOTEMPTY', 'ENAMETOOLONG'];
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Removes a directory with all that is in it, as far as the budget goes: file by file, large ones
 * bit by bit. Nobody else uses it. Resolves to whether it is gone; a crash in between leaves a
 * smaller one. Links are not followed, other file systems not entered.
 */
export async function removeTreeWithin(path: string, budget: RemovalBudget): Promise<boolean> {
  {
    await using top = await open(path, DIRECTORY).catch(absent);
    if (top === undefined) return true;
    if (!(await new Removal(top, budget).run())) return false;
  }
  // The empty directory, and what is not removed by its name alone.
  await removeTree(path);
  return true;
}

/** One run over one tree. */
class Removal {
  readonly #top: FileHandle;
  readonly #budget: RemovalBudget;
  #device = 0n;
  /** Whether a directory came up since the top was read. */
  #hasRisen = false;

  constructor(top: FileHandle, budget: RemovalBudget) {
    this.#top = top;
    this.#budget = budget;
  }

  /** Resolves to whether all is gone that can be removed by its name. */
  async run(): Promise<boolean> {
    ({ dev: this.#device } = await this.#top.stat({ bigint: true }));
    do {
      this.#hasRisen = false;
      if (!(await this.#empty(this.#top, 0))) return false;
    } while (this.#hasRisen);
    return true;
  }

  /** Resolves to false when the budget is spent before the end. */
  async #empty(directory: FileHandle, depth: number): Promise<boolean> {
    const place = `/proc/self/fd/${directory.fd}`;
    for await (const { name } of await opendir(place)) {
      if (this.#budget.isSpent) {
        this.#budget.postpone();
        return false;
      }
      const path = `${place}/${name}`;
      const found = await lstat(path, { bigint: true }).catch(absent);
      if (found === undefined) continue;
      if (!found.isDirectory()) {
        if (!(await this.#removeFile(path, found))) return false;
      } else if (found.dev === this.#device && !(await this.#removeDirectory(path, found, depth))) {
        return false;
      }
    }
    return true;
  }

  async #removeFile(path: string, found: BigIntStats): Promise<boolean> {
    const bytes = found.nlink > 1n ? 0n : found.blocks * 512n;
    // What has another name may be in use by that one, outside of the tree: it is not cut.
    if (found.isFile() && bytes > LARGE_BYTES) {
      const cut = removeTrashFile(path, this.#budget, { isInUse: async () => false });
      return await cut.catch((error: NodeJS.ErrnoException) => {
        leaveObstinate(error);
        return true;
      });
    }
    await unlink(path).catch(leaveObstinate);
    this.#budget.spend(bytes + ENTRY_BYTES);
    return true;
  }

  async #removeDirectory(path: string, { blocks }: BigIntStats, depth: number): Promise<boolean> {
    if (depth >= MAX_DEPTH) {
      await rename(path, `/proc/self/fd/${this.#top.fd}/risen-${randomUUID()}`).then(() => {
        this.#hasRisen = true;
      }, leaveObstinate);
      return true;
    }
    await using directory = await open(path, DIRECTORY).catch(absent);
    if (directory === undefined) return true;
    if (!(await this.#empty(directory, depth + 1))) return false;
    await rmdir(path).catch(leaveObstinate);
    this.#budget.spend(blocks * 512n + ENTRY_BYTES);
    return true;
  }
}

function leaveObstinate(error: NodeJS.ErrnoException): void {
  if (error.code === 'ENOENT' || OBSTINATE.includes(error.code ?? '')) return;
  throw error;
}
