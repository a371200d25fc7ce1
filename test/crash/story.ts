import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { OPERATIONS } from './operations.ts';
import { keyOf, type Moment, type Said, type Task } from './plan.ts';
import type { Form } from './scene.ts';
import { FOLDERS, type NamedWindow } from './source.ts';

const STORAGE = 'node-agent/storage/';
/** Records are written for many callers: the next frame tells which operation wrote one. */
const RECORDS = [`${STORAGE}records/record-store.ts`, 'node-agent/linux/files/durable-file.ts'];
const VICTIM = join(import.meta.dirname, 'victim.ts');

export interface StoryOptions {
  readonly directory: string;
  readonly form: Form;
  /** Names of the operations; absent: all that the form supports. */
  readonly only?: readonly string[] | undefined;
  /** Which moments to kill at. */
  readonly choice: Choice;
  /** Called for each kill, with the operation and the moment. */
  readonly onKill?: ((words: string) => void) | undefined;
  /** Called for each moment that did not occur when a process was to be killed at it. */
  readonly onSurvival?: ((words: string) => void) | undefined;
}

/**
 * Moments to kill at: `all`; those with an effect or a named crash window without a kill yet
 * (`new`); or a random selection of these.
 */
export type Choice = 'all' | 'new' | { readonly most: number; readonly seed: number };

/** The covered places, of all stories together. */
export interface Coverage {
  /** Places that a run passed before an effect, and those with a kill. */
  readonly passed: Set<string>;
  readonly killed: Set<string>;
  /** Places that will have a kill in the end. */
  readonly planned: Set<string>;
  /** Named crash windows. */
  readonly windows: readonly NamedWindow[];
}

/** Whether a stack frame is in the window. */
export function isWithin(frame: string, { file, from, to }: NamedWindow): boolean {
  const [path, line] = frame.split(':');
  return path === file && Number(line) >= from && Number(line) <= to;
}

/**
 * Kills a service at one moment after the other, in one directory: each process finishes the
 * operation of the previous one, checks everything, and is killed itself. Returns the number of
 * kills. Throws the first finding.
 */
export class Story {
  readonly #options: StoryOptions;
  readonly #coverage: Coverage;
  #next: Victim | undefined;
  /** The operation and moment of the last kill. */
  #last: { readonly operation: string; readonly at: Moment } | undefined;
  #kills = 0;

  constructor(options: StoryOptions, coverage: Coverage) {
    this.#options = options;
    this.#coverage = coverage;
  }

  async run(): Promise<number> {
    const { form, only } = this.#options;
    try {
      await this.#ask({ kind: 'furnish' });
      const operations = Object.entries(OPERATIONS).flatMap(([name, { isFor }]) =>
        isFor?.(form) === false || only?.includes(name) === false ? [] : [name],
      );
      const said = await this.#ask({ kind: 'trace', operations });
      const traced = said.flatMap((each) => (each.kind === 'traced' ? [each] : []));
      let worth = traced.flatMap(({ operation, moments }) =>
        this.#choose(moments, this.#worth).map((at) => ({ operation, at })),
      );
      const { choice } = this.#options;
      if (typeof choice === 'object') worth = sample(worth, choice);
      for (const { operation, at } of worth) await this.#killIn(operation, at);
      if (choice === 'new') await this.#killWhereOthersSurvived(traced);
      await this.#ask({ kind: 'end', after: this.#last?.operation });
      await this.#ask({ kind: 'wait for the file system' });
      return this.#kills;
    } finally {
      this.#next?.end();
    }
  }

  /** Selects the moments of a run that need a kill. */
  #choose(moments: readonly Moment[], worthIt: (moment: Moment) => readonly string[]): Moment[] {
    const { passed, planned } = this.#coverage;
    return moments.filter((moment) => {
      for (const place of placesOf(moment)) passed.add(place);
      const isNew = worthIt(moment).some((place) => !planned.has(place));
      if (isNew) for (const place of placesOf(moment)) planned.add(place);
      return isNew || this.#options.choice === 'all';
    });
  }

  /**
   * Returns the places that make a moment worth a kill: where the effect is called, the operation
   * that wrote a record, and named windows.
   */
  #worth = (moment: Moment): readonly string[] => {
    const places = placesOf(moment).filter(isOfSource);
    const caller = places.find((place) => !RECORDS.some((file) => place.startsWith(file)));
    const named = places.filter((place) => this.#coverage.windows.some((window) => isWithin(place, window)));
    return [...places.slice(0, 1), ...(caller === undefined ? [] : [caller]), ...named];
  };

  /** The last operation waits for the background work, and so reaches its places reliably. */
  async #killWhereOthersSurvived(
    traced: readonly { readonly operation: string; readonly moments: readonly Moment[] }[],
  ): Promise<void> {
    const { killed } = this.#coverage;
    const tried = new Set<string>();
    for (const { operation, moments } of traced.toReversed()) {
      for (const at of moments) {
        const missed = this.#worth(at).filter((place) => !killed.has(place) && !tried.has(place));
        if (missed.length === 0) continue;
        for (const place of missed) tried.add(place);
        await this.#killIn(operation, at);
      }
    }
  }

  async #killIn(operation: string, at: Moment): Promise<void> {
    const before = this.#last;
    const recovery = await this.#kill(operation, at);
    for (const place of recovery.flatMap(placesOf)) this.#coverage.passed.add(place);
    if (before === undefined || typeof this.#options.choice === 'object') return;
    // Kills during recovery as well, at the moments before the process served.
    for (const again of this.#choose(recovery, (moment) => placesOf(moment).filter(isOfRecovery))) {
      await this.#kill(before.operation, before.at);
      this.#options.onKill?.(`recovery: ${keyOf(again)}`);
      this.#mark(again, await this.#ask({ kind: 'die again', at: again }));
    }
  }

  /** Kills a process; returns its recovery's moments after the previous kill. */
  async #kill(operation: string, at: Moment): Promise<readonly Moment[]> {
    this.#options.onKill?.(`${operation}: ${keyOf(at)}`);
    const said = await this.#ask({ kind: 'die', after: this.#last?.operation, operation, at });
    this.#last = { operation, at };
    this.#mark(at, said);
    return said.flatMap((each) => (each.kind === 'recovered' ? each.moments : []));
  }

  /**
   * Background work, such as the collection of deleted data, may have had nothing to do this time.
   */
  #mark(moment: Moment, said: readonly Said[]): void {
    if (said.at(-1)?.kind === 'done') {
      this.#options.onSurvival?.(keyOf(moment));
      return;
    }
    this.#kills += 1;
    for (const place of placesOf(moment)) this.#coverage.killed.add(place);
  }

  async #ask(task: Task): Promise<readonly Said[]> {
    const { directory, form } = this.#options;
    const victim = this.#next ?? new Victim(directory, form);
    // Loads its modules while this one works.
    this.#next = new Victim(directory, form);
    const { said, signal } = await victim.ask(task);
    const failed = said.find((each) => each.kind === 'failed');
    const isDone = said.at(-1)?.kind === 'done';
    const mortal = task.kind === 'die' || task.kind === 'die again';
    if (failed === undefined && (isDone || (mortal && signal === 'SIGKILL'))) return said;
    const last = this.#last === undefined ? 'nothing' : `${this.#last.operation}: ${keyOf(this.#last.at)}`;
    throw new Error(
      `${JSON.stringify(form)}: ${describe(task)}: ${failed?.error ?? `it ended (${signal ?? 'by itself'}) and said ${JSON.stringify(said.at(-1))}`}\nkilled before in ${last}`,
    );
  }
}

/** Selects `most` entries, in order. */
function sample<T>(
  from: readonly T[],
  { most, seed }: { readonly most: number; readonly seed: number },
): T[] {
  let state = seed;
  const left = new Set(from.keys());
  while (left.size > most) {
    state = (state * 48_271) % 2_147_483_647;
    left.delete([...left][state % left.size] ?? 0);
  }
  return from.filter((_, index) => left.has(index));
}

/** Whether the place is in the code that the stories cover. */
function isOfSource(place: string): boolean {
  return FOLDERS.some((folder) => place.startsWith(`${folder}/`));
}

/** Operations cover most of what recovery does. */
function isOfRecovery(place: string): boolean {
  return place.startsWith(`${STORAGE}operations/recovery.ts`);
}

/** A kill before a program starts differs from one right after. */
function placesOf({ frames, when }: Moment): readonly string[] {
  return when === 'begun' ? frames.map((frame) => `${frame} ${when}`) : frames;
}

function describe(task: Task): string {
  if (task.kind === 'die') return `to die in ${task.operation}: ${keyOf(task.at)}`;
  if (task.kind === 'die again') return `to die while it recovers: ${keyOf(task.at)}`;
  return task.kind;
}

/** A process that waits for its task. */
class Victim {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown>;
  #output = '';
  #errors = '';

  constructor(directory: string, form: Form) {
    this.#child = spawn(process.execPath, [VICTIM, directory, JSON.stringify(form)], { stdio: 'pipe' });
    this.#child.stdout.on('data', (chunk: Buffer) => (this.#output += chunk.toString('utf8')));
    this.#child.stderr.on('data', (chunk: Buffer) => (this.#errors += chunk.toString('utf8')));
    this.#child.stdin.on('error', () => undefined);
    this.#ended = once(this.#child, 'close');
  }

  async ask(task: Task): Promise<{ readonly said: readonly Said[]; readonly signal: NodeJS.Signals | null }> {
    this.#child.stdin.end(`${JSON.stringify(task)}\n`);
    await this.#ended;
    const said = this.#output
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Said);
    if (this.#errors !== '') said.push({ kind: 'failed', error: this.#errors });
    return { said, signal: this.#child.signalCode };
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}
