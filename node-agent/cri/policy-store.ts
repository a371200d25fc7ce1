import { watch } from 'node:fs';
import { lstat, readdir, readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import type { RuntimePolicy } from '../../src/core/policies/policy.ts';
import { parsePolicies } from '../../src/core/policies/policy-parse.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';

export interface PolicyStoreOptions {
  /**
   * Directories whose `*.yaml` and `*.yml` files are read; they may appear later. A symbolic link
   * is replaced as a whole, and read as such. Of policies of one name the earlier directory's
   * applies.
   */
  readonly directories: readonly string[];
}

export interface PolicyStoreDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly onLoaded?: (loaded: { readonly policies: number; readonly badFiles: number }) => void;
}

/** An error in a file that is not applied as it is. */
export interface PolicyFileFault {
  readonly file: string;
  readonly message: string;
}

interface KnownFile {
  readonly text: string;
  /** Of the last valid content. */
  readonly policies: readonly RuntimePolicy[];
  readonly fault: string | undefined;
}

/**
 * The policies of some directories, kept up to date. A file is applied as a whole or not at all:
 * one with an error keeps its last valid content, and is reported in the log and in `faults`.
 */
export class PolicyStore {
  readonly #options: PolicyStoreOptions;
  readonly #deps: PolicyStoreDeps;
  #files = new Map<string, KnownFile>();
  #policies: readonly RuntimePolicy[] = [];

  constructor(options: PolicyStoreOptions, deps: PolicyStoreDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** In the order in which they apply: by name. */
  get policies(): readonly RuntimePolicy[] {
    return this.#policies;
  }

  get faults(): readonly PolicyFileFault[] {
    return [...this.#files].flatMap(([file, { fault }]) =>
      fault === undefined ? [] : [{ file, message: fault }],
    );
  }

  /** Follows the directories until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const runner = new BoundedRunner(
      // Polls as well: a directory that was replaced is no longer watched.
      { name: 'policies', minIntervalMs: 100, maxIntervalMs: 5_000, retryMs: 1_000 },
      async () => {
        await this.load();
        for (const directory of this.#options.directories) await follow(directory);
      },
      this.#deps,
    );
    const watchers = new Map<string, Disposable>();
    const follow = async (directory: string): Promise<void> => {
      if (watchers.has(directory)) return;
      const watcher = watchDirectory(await whereChangesShow(directory), {
        changed: () => runner.poke(),
        lost: () => {
          watchers.delete(directory);
          runner.poke();
        },
      });
      if (watcher !== undefined) watchers.set(directory, watcher);
    };
    try {
      await runner.run(signal);
    } finally {
      for (const watcher of watchers.values()) watcher[Symbol.dispose]();
    }
  }

  /** Reads the directories once. */
  async load(): Promise<void> {
    const texts = new Map<string, string>();
    for (const directory of this.#options.directories) {
      for (const [file, text] of await readPolicyFiles(directory)) texts.set(file, text);
    }
    const same = texts.size === this.#files.size;
    if (same && [...texts].every(([file, text]) => this.#files.get(file)?.text === text)) return;
    const files = new Map<string, KnownFile>();
    const owners = new Map<string, string>();
    for (const [file, text] of texts) {
      const known = this.#read(file, text, owners);
      for (const { name } of known.policies) owners.set(name, file);
      files.set(file, known);
    }
    this.#files = files;
    this.#policies = [...files.values()]
      .flatMap(({ policies }) => policies)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const badFiles = this.faults.length;
    this.#deps.logger.info(
      { policies: this.#policies.map(({ name }) => name), badFiles },
      'loaded runtime policies',
    );
    this.#deps.onLoaded?.({ policies: this.#policies.length, badFiles });
  }

  #read(file: string, text: string, owners: ReadonlyMap<string, string>): KnownFile {
    const before = this.#files.get(file);
    try {
      const policies = parsePolicies(text, file);
      checkNames(policies, file, owners);
      return { text, policies, fault: undefined };
    } catch (error) {
      const fault = Fault.from(error).message;
      const kept = (before?.policies ?? []).filter(({ name }) => !owners.has(name));
      if (before?.text !== text) {
        this.#deps.logger.error(
          { file, fault, kept: kept.map(({ name }) => name) },
          'policy file has errors; its last valid content stays in force',
        );
      }
      return { text, policies: kept, fault };
    }
  }
}

function checkNames(
  policies: readonly RuntimePolicy[],
  file: string,
  owners: ReadonlyMap<string, string>,
): void {
  const seen = new Set<string>();
  for (const { name } of policies) {
    const owner = seen.has(name) ? file : owners.get(name);
    if (owner !== undefined) {
      throw new Fault('invalid', `${file} has RuntimePolicy ${name}, which ${owner} has too; rename one`, {
        fields: { policy: name },
      });
    }
    seen.add(name);
  }
}

/** By the path of each file under the given directory, whatever it links to now. */
async function readPolicyFiles(directory: string): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  try {
    // Reads one set of files: not the names of one and the texts of the next. A set that is removed
    // meanwhile is read again by the runner.
    const set = await realpath(directory);
    const names = (await readdir(set)).filter((entry) => /^[^.].*\.ya?ml$/.test(entry)).sort();
    for (const name of names) {
      texts.set(join(directory, name), await readFile(join(set, name), 'utf8'));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && !(await exists(directory))) return new Map();
    throw error;
  }
  return texts;
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}

/** A symbolic link changes in its own directory. */
async function whereChangesShow(directory: string): Promise<string> {
  const isLink = await lstat(directory).then(
    (found) => found.isSymbolicLink(),
    () => false,
  );
  return isLink ? dirname(directory) : directory;
}

/** Undefined where the directory cannot be watched, for example because it does not exist. */
function watchDirectory(
  directory: string,
  on: { readonly changed: () => void; readonly lost: () => void },
): Disposable | undefined {
  try {
    const watcher = watch(directory, { persistent: false }, (_event, name) => {
      // The event of the directory's own removal names the directory.
      on.changed();
      if (name === null) on.lost();
    });
    watcher.on('error', () => {
      watcher.close();
      on.lost();
    });
    return { [Symbol.dispose]: () => watcher.close() };
  } catch {
    return undefined;
  }
}
