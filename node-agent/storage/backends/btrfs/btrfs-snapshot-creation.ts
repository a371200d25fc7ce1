import { mkdir, rename, rmdir } from 'node:fs/promises';
import { Fault } from '../../../../src/core/fault.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import type { SnapshotCreation } from '../../contract/volume-backend.ts';
import { absent } from '../../../linux/files/absent.ts';

/** A snapshot to create together with others. */
interface SnapshotMember {
  /** The final name of the snapshot. */
  readonly id: string;
  /** Path of the subvolume, below the pool's root. */
  readonly source: string;
  /** A directory for this snapshot alone, in the snapshots' directory. */
  readonly name: string;
}

export interface BtrfsSnapshotCreationOptions {
  /** The pool's open root directory. */
  readonly root: number;
  /** The snapshots' directory, below `root`. */
  readonly directory: string;
  readonly members: readonly SnapshotMember[];
  readonly sync: () => Promise<void>;
}

export interface BtrfsSnapshotCreationDeps {
  readonly kernel: Kernel;
  readonly startKernel: (options: { readonly name: string }) => Kernel;
  readonly onEnd: () => void;
}

/** On an idle disk the first attempt succeeds; with 12 busy writers, nine of ten do. */
const ATTEMPTS = 20;

/**
 * Creates snapshots of several subvolumes in one commit of the file system. While a commit creates
 * its snapshots, no transaction is open and no write can start: the snapshots have every write that
 * reached the file system before, and so every fsync that returned before a later write.
 *
 * The kernel has no call for several snapshots. Each call joins the open transaction and waits for
 * its commit, so the calls must run in parallel: on a worker each, and in a directory each (a call
 * locks the directory of its snapshot). The first call would start the commit and exclude the
 * others, but a commit accepts joins while the previous one is written out (Linux 6.6, 77d20c685b6b
 * "do not block starts waiting on previous transaction commit"). So each attempt starts a commit,
 * and requests all snapshots while that is in progress. Each snapshot has the number of its
 * transaction: if these differ, the snapshots are removed and the attempt is repeated.
 */
export class BtrfsSnapshotCreation implements SnapshotCreation {
  readonly #options: BtrfsSnapshotCreationOptions;
  readonly #deps: BtrfsSnapshotCreationDeps;
  readonly #workers: Kernel[] = [];

  constructor(options: BtrfsSnapshotCreationOptions, deps: BtrfsSnapshotCreationDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Starts the workers before writers are frozen: starting a thread takes longer than all the rest.
   */
  async startWorkers(): Promise<void> {
    const { members, root } = this.#options;
    while (members.length > 1 && this.#workers.length < members.length) {
      this.#workers.push(this.#deps.startKernel({ name: `keelson-snap-${this.#workers.length}` }));
    }
    await Promise.all(this.#workers.map((kernel) => kernel.call('readBtrfsUuid', root)));
  }

  async take(signal: AbortSignal): Promise<void> {
    const { members } = this.#options;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      signal.throwIfAborted();
      if (await this.#takeOnce()) return;
      await this.#removeAll();
    }
    throw new Fault(
      'unavailable',
      `${members.length} snapshots were not created in one commit in ${ATTEMPTS} attempts; retry with less write load on the pool`,
      { fields: { attempts: ATTEMPTS, members: members.length } },
    );
  }

  async finish(): Promise<void> {
    const { directory, members, root, sync } = this.#options;
    for (const { id, name } of members) {
      // A read-only subvolume cannot move to another directory. Crash window: moved, still
      // writable; it is not mounted anywhere, and recovery removes it by its record.
      await rename(this.#path(`${name}/${id}`), this.#path(id));
      await rmdir(this.#path(name));
      await this.#deps.kernel.call('protectSubvolume', root, `${directory}/${id}`);
    }
    await sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await Promise.all(this.#workers.map((kernel) => kernel[Symbol.asyncDispose]()));
      await this.#removeAll();
    } finally {
      this.#deps.onEnd();
    }
  }

  /** Returns whether all snapshots were created in one commit. */
  async #takeOnce(): Promise<boolean> {
    const { directory, members, root } = this.#options;
    const { kernel } = this.#deps;
    // Otherwise each call would write dirty data first, and delay its join.
    await kernel.call('syncFilesystem', root);
    // The new directories give the commit something to commit.
    for (const { name } of members) await mkdir(this.#path(name), { mode: 0o700 });
    await kernel.call('startCommit', root);
    const outcomes = await Promise.allSettled(
      members.map(({ id, source, name }, index) =>
        (this.#workers[index] ?? kernel).call('snapshotSubvolume', root, source, `${directory}/${name}`, id, {
          readonly: false,
        }),
      ),
    );
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const transactions = new Set<bigint>();
    for (const { id, name } of members) {
      transactions.add(await kernel.call('readCreationTransaction', root, `${directory}/${name}/${id}`));
    }
    return transactions.size === 1;
  }

  async #removeAll(): Promise<void> {
    const { directory, members, root } = this.#options;
    for (const { name } of members) await removeUnfinished({ root, directory, name }, this.#deps);
  }

  #path(relative: string): string {
    const { root, directory } = this.#options;
    return `/proc/self/fd/${root}/${directory}/${relative}`;
  }
}

/** Removes the directory of an unfinished snapshot; an absent one is fine. */
export async function removeUnfinished(
  { root, directory, name }: { readonly root: number; readonly directory: string; readonly name: string },
  { kernel }: { readonly kernel: Kernel },
): Promise<void> {
  const id = name.slice(name.indexOf('-') + 1);
  await kernel.call('destroySubvolume', root, `${directory}/${name}/${id}`);
  await rmdir(`/proc/self/fd/${root}/${directory}/${name}`).catch(absent);
}
