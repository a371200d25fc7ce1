import { randomUUID } from 'node:crypto';
import { constants, type BigIntStats } from 'node:fs';
import { type FileHandle, lstat, open, opendir, rename, rmdir, unlink } from 'node:fs/promises';
import type { RemovalBudget } from './removal-budget.ts';
import { removeTree } from './remove-tree.ts';
import { absent } from './absent.ts';
import { removeTrashFile } from './trash-file.ts';

/**
 * Approximate cost of removing a name and its inode, so that runs of many small files end as well.
 */
export const ENTRY_BYTES = 4096n;
/** Smaller files are removed in one step. */
const LARGE_BYTES = 16n << 20n;
/** Directories nested deeper are moved to the top, which bounds the number of open descriptors. */
const MAX_DEPTH = 64;
/**
 * Errors for immutable, mounted, foreign-project or therefore non-empty entries: `removeTree`
 * removes these.
 */
const NOT_UNLINKABLE = ['EPERM', 'EBUSY', 'EXDEV', 'ENOTEMPTY', 'ENAMETOOLONG'];
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Removes an unused directory recursively within the budget: file by file, large files in steps.
 * Returns whether it is removed completely; a crash leaves a smaller directory. Does not follow
 * links or enter other file systems.
 */
export async function removeTreeWithin(path: string, budget: RemovalBudget): Promise<boolean> {
  {
    await using top = await open(path, DIRECTORY).catch(absent);
    if (top === undefined) return true;
    if (!(await new Removal(top, budget).run())) return false;
  }
  // The empty directory, and entries that need more than unlink(2).
  await removeTree(path);
  return true;
}

/** One run over one tree. */
class Removal {
  readonly #top: FileHandle;
  readonly #budget: RemovalBudget;
  #device = 0n;
  /** Whether a directory was moved to the top since the top was read. */
  #hasMoved = false;

  constructor(top: FileHandle, budget: RemovalBudget) {
    this.#top = top;
    this.#budget = budget;
  }

  /** Returns whether all entries are removed that unlink(2) and rmdir(2) can remove. */
  async run(): Promise<boolean> {
    ({ dev: this.#device } = await this.#top.stat({ bigint: true }));
    do {
      this.#hasMoved = false;
      if (!(await this.#empty(this.#top, 0))) return false;
    } while (this.#hasMoved);
    return true;
  }

  /** Returns false if the budget is spent before the end. */
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
    // Another hard link may be in use outside of the tree: the file is not truncated.
    if (found.isFile() && bytes > LARGE_BYTES) {
      const cut = removeTrashFile(path, this.#budget, { isInUse: async () => false });
      return await cut.catch((error: NodeJS.ErrnoException) => {
        ignoreNotUnlinkable(error);
        return true;
      });
    }
    await unlink(path).catch(ignoreNotUnlinkable);
    this.#budget.spend(bytes + ENTRY_BYTES);
    return true;
  }

  async #removeDirectory(path: string, { blocks }: BigIntStats, depth: number): Promise<boolean> {
    if (depth >= MAX_DEPTH) {
      await rename(path, `/proc/self/fd/${this.#top.fd}/moved-${randomUUID()}`).then(() => {
        this.#hasMoved = true;
      }, ignoreNotUnlinkable);
      return true;
    }
    await using directory = await open(path, DIRECTORY).catch(absent);
    if (directory === undefined) return true;
    if (!(await this.#empty(directory, depth + 1))) return false;
    await rmdir(path).catch(ignoreNotUnlinkable);
    this.#budget.spend(blocks * 512n + ENTRY_BYTES);
    return true;
  }
}

function ignoreNotUnlinkable(error: NodeJS.ErrnoException): void {
  if (error.code === 'ENOENT' || NOT_UNLINKABLE.includes(error.code ?? '')) return;
  throw error;
}
