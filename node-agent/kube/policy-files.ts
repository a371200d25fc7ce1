import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../linux/files/durable-file.ts';

/** Below the agent's state directory; passed to the CRI proxy with `--policies`. */
export function policiesDirectory(stateDir: string): string {
  return join(stateDir, 'policies', 'current');
}

/**
 * Writes the policies of the API to files, which the CRI proxy also reads when neither agent nor
 * API server is available. They change atomically: `current` is a link to an immutable directory,
 * named by the hash of its content.
 */
export class PolicyFiles {
  readonly #directory: string;
  readonly #link: string;

  constructor({ stateDir }: { readonly stateDir: string }) {
    this.#directory = join(stateDir, 'policies');
    this.#link = policiesDirectory(stateDir);
  }

  /**
   * Replaces the whole set by `texts`, by file name. After a crash the previous or the new set is
   * current. Resolves to whether the set changed.
   */
  async replace(texts: ReadonlyMap<string, string>): Promise<boolean> {
    const files = [...texts].sort(([a], [b]) => (a < b ? -1 : 1));
    const hash = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 32);
    const set = `set-${hash}`;
    const before = await readlink(this.#link).catch(() => undefined);
    if (before !== set) {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await this.#writeSet(set, files);
      // A link cannot be overwritten, but another one can be renamed over it.
      const fresh = `${this.#link}.new`;
      await rm(fresh, { force: true });
      await symlink(set, fresh);
      await rename(fresh, this.#link);
      await syncDirectory(this.#directory);
    }
    // The previous set, and what a crash has left.
    const others = (await readdir(this.#directory)).filter((name) => name.startsWith('set-') && name !== set);
    for (const name of others) await rm(join(this.#directory, name), { recursive: true, force: true });
    return before !== set;
  }

  /** Renamed to its final name only when it is complete. */
  async #writeSet(set: string, files: readonly (readonly [string, string])[]): Promise<void> {
    const path = join(this.#directory, set);
    const fresh = `${path}.new`;
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { mode: 0o700 });
    for (const [name, text] of files) {
      await using file = await open(join(fresh, name), 'w', 0o600);
      await file.writeFile(text);
      await file.sync();
    }
    await syncDirectory(fresh);
    // A complete set of that name is not current any more.
    await rm(path, { recursive: true, force: true });
    await rename(fresh, path);
  }
}
