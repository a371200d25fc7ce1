import { watch } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import type { RuntimePolicy } from '../../src/core/policy.ts';
import { parsePolicies } from '../../src/core/policy-parse.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';

export interface PolicyStoreOptions {
  /** Its `*.yaml` and `*.yml` files are read; it may be absent, and come later. */
  readonly directory: string;
}

export interface PolicyStoreDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly onLoaded?: (loaded: { readonly policies: number; readonly badFiles: number }) => void;
}

interface KnownFile {
  readonly text: string;
  /** Of the last text without a fault. */
  readonly policies: readonly RuntimePolicy[];
  readonly fault: string | undefined;
}

/**
 * The policies of a directory, kept up to date. A file is taken whole or not at all: one with a fault keeps what it said before, and
 * says so in the log and in `faults`.
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

  /** What is wrong with files that are not in force as they are. */
  get faults(): readonly string[] {
    return [...this.#files.values()].flatMap(({ fault }) => fault ?? []);
  }

  /** Follows the directory until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const runner = new BoundedRunner(
      // Also without an event: a directory that was replaced has no watch any more.
      { name: 'policies', minIntervalMs: 100, maxIntervalMs: 5_000, retryMs: 1_000 },
      async () => {
        await this.load();
        follow();
      },
      this.#deps,
    );
    let watcher: Disposable | undefined;
    const follow = (): void => {
      watcher ??= watchDirectory(this.#options.directory, {
        changed: () => runner.poke(),
        lost: () => {
          watcher = undefined;
          runner.poke();
        },
      });
    };
    try {
      await runner.run(signal);
    } finally {
      watcher?.[Symbol.dispose]();
    }
  }

  /** Reads the directory once. */
  async load(): Promise<void> {
    const texts = await readPolicyFiles(this.#options.directory);
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
      'runtime policies loaded',
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
          'policy file has faults; what it said before stays in force',
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
      throw new Fault('invalid', `${file} has a RuntimePolicy ${name}, which ${owner} has too; rename one`, {
        fields: { policy: name },
      });
    }
    seen.add(name);
  }
}

async function readPolicyFiles(directory: string): Promise<Map<string, string>> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const texts = new Map<string, string>();
  for (const name of names.filter((entry) => /^[^.].*\.ya?ml$/.test(entry)).sort()) {
    texts.set(join(directory, name), await readFile(join(directory, name), 'utf8'));
  }
  return texts;
}

/** Undefined where the directory cannot be watched, e.g. because it is not there. */
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
