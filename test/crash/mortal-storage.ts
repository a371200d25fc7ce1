import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Fault, type FaultKind } from '../../src/core/fault.ts';
import type { StorageServices } from '../../node-agent/storage/services.ts';
import { type Answer, type Call, decode, encode, type Method } from './remote-storage.ts';
import type { Form } from './scene.ts';

const VICTIM = join(import.meta.dirname, 'fuzz-victim.ts');

type Work<M extends Method> = M extends `${infer S}.${infer N}`
  ? S extends keyof StorageServices
    ? N extends keyof StorageServices[S]
      ? StorageServices[S][N]
      : never
    : never
  : never;
type Result<M extends Method> = Work<M> extends (...args: never[]) => infer R ? Awaited<R> : never;
type Args<M extends Method> = Work<M> extends (...args: infer A) => unknown ? A : never;

interface Pending {
  readonly call: Call;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A storage service in a process that is killed repeatedly. Unanswered calls are repeated,
 * unnoticed by their callers.
 */
export class MortalStorage implements AsyncDisposable {
  readonly #place: { readonly directory: string; readonly form: Form };
  /** Number of effects after which the next process is killed; 0: never. */
  readonly #nextLife: () => number;
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcessWithoutNullStreams;
  #numbers = 0;
  #isEnding = false;
  #failure: Error | undefined;
  deaths = 0;

  constructor(place: { readonly directory: string; readonly form: Form }, nextLife: () => number) {
    this.#place = place;
    this.#nextLife = nextLife;
    this.#child = this.#start();
  }

  /** Rejects with the service's fault. */
  async call<M extends Method>(method: M, ...args: Args<M>): Promise<Result<M>> {
    this.#numbers += 1;
    const call: Call = { number: this.#numbers, method, args };
    return await new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#pending.set(call.number, { call, resolve: resolve as (result: unknown) => void, reject });
      this.#send(call);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true;
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    this.#child.stdin.end();
    await once(this.#child, 'close');
  }

  #start(): ChildProcessWithoutNullStreams {
    const { directory, form } = this.#place;
    const child = spawn(
      process.execPath,
      [VICTIM, directory, JSON.stringify(form), String(this.#nextLife())],
      { stdio: 'pipe' },
    );
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString('utf8')));
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(decode(line) as Answer));
    child.once('close', (_, signal) => {
      if (this.#isEnding) return;
      if (signal !== 'SIGKILL') {
        this.#failure = new Error(`the service ended (${signal ?? 'by itself'}): ${errors}`);
        for (const { reject } of this.#pending.values()) reject(this.#failure);
        return;
      }
      this.deaths += 1;
      this.#child = this.#start();
      for (const { call } of this.#pending.values()) this.#send(call);
    });
    return child;
  }

  #send(call: Call): void {
    this.#child.stdin.write(`${encode(call)}\n`);
  }

  #hear(answer: Answer): void {
    const pending = this.#pending.get(answer.number);
    if (pending === undefined) return;
    this.#pending.delete(answer.number);
    if ('result' in answer) pending.resolve(answer.result);
    else if ('kind' in answer) pending.reject(new Fault(answer.kind as FaultKind, answer.message));
    else pending.resolve(undefined);
  }
}
