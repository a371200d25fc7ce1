import { mkdir, rename, rmdir } from 'node:fs/promises';
import { Fault } from '../../../../src/core/fault.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import type { SnapshotCreation } from '../../contract/volume-backend.ts';
import { absent } from '../../../linux/files/absent.ts';

/** A subvolume to be snapshotted with others. */
export interface SubvolumeCut {
  /** The name that the snapshot gets. */
  readonly id: string;
  /** Path of the subvolume, below the pool's root. */
  readonly source: string;
  /** A directory for this one alone, among the snapshots. */
  readonly name: string;
}

export interface BtrfsCutOptions {
  /** The pool's open root directory. */
  readonly root: number;
  /** Where snapshots are, below it. */
  readonly directory: string;
  readonly members: readonly SubvolumeCut[];
  readonly sync: () => Promise<void>;
}

export interface BtrfsCutDeps {
  readonly kernel: Kernel;
  readonly startKernel: (options: { readonly name: string }) => Kernel;
  readonly onEnd: () => void;
}

/** On an idle disk the first one comes off; with 12 busy writers, nine of ten do. */
const ATTEMPTS = 20;

/**
 * Snapshots of several subvolumes that are cut by one commit of the file system. At the moment at
 * which a commit cuts its snapshots, no transaction is open and nothing can write: what is in them
 * had reached the file system by then, and everything that anybody waited for (fsync) before he
 * wrote on.
 * The kernel has no call for several snapshots. Each call joins the open transaction, and waits in
 * its commit, so they have to be in the kernel together: a thread each, and a directory each (a
 * call holds the lock of the one that its snapshot is made in). They would still miss each other,
 * for the first begins the commit and shuts out the rest, were it not that a commit lets others
 * join for as long as the one before it is written out (Linux 6.6, 77d20c685b6b "do not block
 * starts waiting on previous transaction commit"). So each attempt starts a commit first, and asks
 * for all snapshots while it is on its way. Whether it came off is read from the snapshots: each
 * knows its transaction. If not, they are removed and taken again.
 */
export class BtrfsCut implements SnapshotCreation {
  readonly #options: BtrfsCutOptions;
  readonly #deps: BtrfsCutDeps;
  readonly #crew: Kernel[] = [];

  constructor(options: BtrfsCutOptions, deps: BtrfsCutDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Has the threads ready. Starting one takes longer than all the rest: it is not done while
   * writers wait.
   */
  async muster(): Promise<void> {
    const { members, root } = this.#options;
    while (members.length > 1 && this.#crew.length < members.length) {
      this.#crew.push(this.#deps.startKernel({ name: `keelson-cut-${this.#crew.length}` }));
    }
    await Promise.all(this.#crew.map((kernel) => kernel.call('readBtrfsUuid', root)));
  }

  async take(signal: AbortSignal): Promise<void> {
    const { members } = this.#options;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      signal.throwIfAborted();
      if (await this.#takeOnce()) return;
      await this.#clear();
    }
    throw new Fault(
      'unavailable',
      `the file system did not cut ${members.length} snapshots in one commit in ${ATTEMPTS} attempts; try again when less is written to the pool`,
      { fields: { attempts: ATTEMPTS, members: members.length } },
    );
  }

  async finish(): Promise<void> {
    const { directory, members, root, sync } = this.#options;
    for (const { id, name } of members) {
      // A read-only one could not move to another directory. Crash window: moved and still
      // writable, which nobody can see or reach yet.
      await rename(this.#path(`${name}/${id}`), this.#path(id));
      await rmdir(this.#path(name));
      await this.#deps.kernel.call('protectSubvolume', root, `${directory}/${id}`);
    }
    await sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await Promise.all(this.#crew.map((kernel) => kernel[Symbol.asyncDispose]()));
      await this.#clear();
    } finally {
      this.#deps.onEnd();
    }
  }

  /** Whether all have come into one commit. */
  async #takeOnce(): Promise<boolean> {
    const { directory, members, root } = this.#options;
    const { kernel } = this.#deps;
    // What is dirty would be written by each snapshot for itself, and keep them apart.
    await kernel.call('syncFilesystem', root);
    // A commit needs something to commit: these directories.
    for (const { name } of members) await mkdir(this.#path(name), { mode: 0o700 });
    await kernel.call('startCommit', root);
    const asked = await Promise.allSettled(
      members.map(({ id, source, name }, index) =>
        (this.#crew[index] ?? kernel).call('snapshotSubvolume', root, source, `${directory}/${name}`, id, {
          readonly: false,
        }),
      ),
    );
    const failed = asked.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const transactions = new Set<bigint>();
    for (const { id, name } of members) {
      transactions.add(await kernel.call('readCreationTransaction', root, `${directory}/${name}/${id}`));
    }
    return transactions.size === 1;
  }

  async #clear(): Promise<void> {
    const { directory, members, root } = this.#options;
    for (const { name } of members) await removeCut({ root, directory, name }, this.#deps);
  }

  #path(relative: string): string {
    const { root, directory } = this.#options;
    return `/proc/self/fd/${root}/${directory}/${relative}`;
  }
}

/** Removes a directory with a snapshot that was not finished; absent is fine. */
export async function removeCut(
  { root, directory, name }: { readonly root: number; readonly directory: string; readonly name: string },
  { kernel }: { readonly kernel: Kernel },
): Promise<void> {
  const id = name.slice(name.indexOf('-') + 1);
  await kernel.call('destroySubvolume', root, `${directory}/${name}/${id}`);
  await rmdir(`/proc/self/fd/${root}/${directory}/${name}`).catch(absent);
}
