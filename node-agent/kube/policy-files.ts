import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../linux/files/durable-file.ts';

/** Below the agent's state directory; the CRI proxy is given it with `--policies`. */
export function policiesDirectory(stateDir: string): string {
  return join(stateDir, 'policies', 'current');
}

/**
 * The policies of the API as files, which the CRI proxy reads also when no agent and no API server is there. All of them change at
 * once: `current` is a link to a directory that is never changed, named by what is in it.
 */
export class PolicyFiles {
  readonly #directory: string;
  readonly #link: string;

  constructor({ stateDir }: { readonly stateDir: string }) {
    this.#directory = join(stateDir, 'policies');
    this.#link = policiesDirectory(stateDir);
  }

  /** Makes `texts`, by file name, the whole set. Any crash leaves the set before or this one. True when it was another before. */
  async replace(texts: ReadonlyMap<string, string>): Promise<boolean> {
    const files = [...texts].sort(([a], [b]) => (a < b ? -1 : 1));
    const hash = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 32);
    const set = `set-${hash}`;
    const before = await readlink(this.#link).catch(() => undefined);
    if (before !== set) {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await this.#writeSet(set, files);
      // A link cannot be overwritten but renamed over.
      const fresh = `${this.#link}.new`;
      await rm(fresh, { force: true });
      await symlink(set, fresh);
      await rename(fresh, this.#link);
      await syncDirectory(this.#directory);
    }
    // What a crash has left, and the set before.
    const others = (await readdir(this.#directory)).filter((name) => name.startsWith('set-') && name !== set);
    for (const name of others) await rm(join(this.#directory, name), { recursive: true, force: true });
    return before !== set;
  }

  /** Under its name only when it is whole. */
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
    // One of that name is whole, but links no longer lead to it.
    await rm(path, { recursive: true, force: true });
    await rename(fresh, path);
  }
}
