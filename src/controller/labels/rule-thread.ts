import { Worker } from 'node:worker_threads';
import { Fault } from '../../core/fault.ts';
import type { NodeFacts } from '../../core/labels/label-facts.ts';
import type { LabelRule, RuleOutcome } from '../../core/labels/label-rule.ts';
import { type Clock, systemClock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { RuleEvaluator } from './rule-evaluator.ts';
import type { RuleWorkerData, RuleWorkerReply, RuleWorkerRequest } from './rule-worker.ts';

export interface RuleThreadOptions {
  /**
   * A rule that takes longer than this on one node (at most twice this) is disabled; default 1 s.
   */
  readonly stallMs?: number;
  /** Memory limit of the thread; default 64 MiB. */
  readonly memoryMiB?: number;
}

export interface RuleThreadDeps {
  readonly logger: Logger;
  readonly clock?: Clock;
}

const WORKER_FILE = import.meta.url.endsWith('.ts') ? './rule-worker.ts' : './rule-worker.mjs';

/** The end of the thread, caused by the rule at `index`; undefined when no rule caused it. */
interface Collapse {
  readonly index: number | undefined;
  readonly error: Fault;
}

/**
 * Evaluates rules in a worker thread. CEL terminates, but nested loops over long lists, growing
 * lists and regular expressions can take arbitrarily long: the thread is then terminated, the rule
 * is disabled until it changes, and the other rules continue.
 */
export class RuleThread implements RuleEvaluator, AsyncDisposable {
  readonly #deps: RuleThreadDeps;
  readonly #clock: Clock;
  readonly #stallMs: number;
  readonly #memoryMiB: number;
  /** Versions of rules that ended a thread, with their error. */
  readonly #barred = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();
  #worker: { readonly thread: Worker; readonly progress: Int32Array } | undefined;
  #rules: readonly LabelRule[] | undefined;

  constructor({ stallMs = 1_000, memoryMiB = 64 }: RuleThreadOptions, deps: RuleThreadDeps) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#stallMs = stallMs;
    this.#memoryMiB = memoryMiB;
  }

  evaluate(rules: readonly LabelRule[], facts: NodeFacts): Promise<readonly RuleOutcome[]> {
    const turn = this.#turn.then(() => this.#evaluate(rules, facts));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }

  async #evaluate(rules: readonly LabelRule[], facts: NodeFacts): Promise<readonly RuleOutcome[]> {
    if (rules.length === 0) return [];
    for (;;) {
      const allowed = rules.filter(({ version }) => !this.#barred.has(version));
      const answer = await this.#ask(rules, allowed, facts);
      if (!('error' in answer)) {
        const outcomes = answer.values();
        return rules.map(({ version }) => {
          const message = this.#barred.get(version);
          if (message !== undefined) return { state: 'failed', message };
          return outcomes.next().value ?? { state: 'unknown' };
        });
      }
      await this.#end();
      const { index, error } = answer;
      const culprit = index === undefined ? undefined : allowed[index];
      if (culprit === undefined) throw error;
      this.#bar(culprit, facts.node.name, rules);
    }
  }

  /**
   * Asks the thread. It keeps the rules until another array is sent, or one of them is disabled.
   */
  async #ask(
    rules: readonly LabelRule[],
    allowed: readonly LabelRule[],
    facts: NodeFacts,
  ): Promise<RuleWorkerReply | Collapse> {
    const { thread, progress } = (this.#worker ??= this.#start());
    if (this.#rules !== rules) thread.postMessage({ rules: allowed } satisfies RuleWorkerRequest);
    this.#rules = rules;
    const { promise, resolve } = Promise.withResolvers<RuleWorkerReply | Collapse>();
    const begun = Atomics.load(progress, 0);
    const collapse = (message: string, cause?: unknown): void => {
      const index = Atomics.load(progress, 0) === begun ? undefined : Atomics.load(progress, 1);
      resolve({ index, error: new Fault('unavailable', message, { cause }) });
    };
    // Two checks: a single one would blame a rule for a suspended machine.
    let seen = begun;
    let looks = 0;
    const watch = (): Disposable =>
      this.#clock.schedule(this.#stallMs, () => {
        const now = Atomics.load(progress, 0);
        looks = now === seen ? looks + 1 : 0;
        seen = now;
        // A thread that has not begun a rule is still starting, which may take long.
        if (looks >= 2 && now !== begun) collapse('the rule thread does not respond');
        else timer = watch();
      });
    let timer = watch();
    const onError = (cause: unknown): void => collapse('the rule thread failed', cause);
    const onExit = (): void => collapse('the rule thread exited');
    thread.once('message', resolve);
    thread.once('error', onError);
    thread.once('exit', onExit);
    thread.ref();
    try {
      thread.postMessage({ facts } satisfies RuleWorkerRequest);
      return await promise;
    } finally {
      timer[Symbol.dispose]();
      thread.off('message', resolve);
      thread.off('error', onError);
      thread.off('exit', onExit);
      thread.unref();
    }
  }

  #bar({ name, version }: LabelRule, nodeName: string, rules: readonly LabelRule[]): void {
    const present = new Set(rules.map((rule) => rule.version));
    for (const known of [...this.#barred.keys()]) if (!present.has(known)) this.#barred.delete(known);
    this.#barred.set(
      version,
      `on node ${nodeName} the rule took more than ${this.#stallMs} ms or ${this.#memoryMiB} MiB; it is disabled until it is changed`,
    );
    this.#deps.logger.warn({ rule: name, node: nodeName }, 'disabled a label rule that exceeds its limits');
  }

  #start(): { readonly thread: Worker; readonly progress: Int32Array } {
    const progress = new SharedArrayBuffer(8);
    const thread = new Worker(new URL(WORKER_FILE, import.meta.url), {
      name: 'label-rules',
      workerData: { progress } satisfies RuleWorkerData,
      resourceLimits: { maxOldGenerationSizeMb: this.#memoryMiB, maxYoungGenerationSizeMb: 8 },
    });
    // A thread that fails between two requests is replaced on the next one; without a listener its
    // error would end the process.
    thread.on('error', (err) => {
      this.#deps.logger.debug({ err }, 'rule thread failed');
      if (this.#worker?.thread === thread) this.#forget();
    });
    thread.unref();
    return { thread, progress: new Int32Array(progress) };
  }

  async #end(): Promise<void> {
    const thread = this.#worker?.thread;
    this.#forget();
    await thread?.terminate();
  }

  #forget(): void {
    this.#worker = undefined;
    this.#rules = undefined;
  }
}
