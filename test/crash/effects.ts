import childProcess from 'node:child_process';
import { constants } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { relative } from 'node:path';
import { Worker } from 'node:worker_threads';
import { FILE_EFFECTS, HANDLE_EFFECTS, isKernelEffect } from './effect-names.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const FRAME = /\(?(?:file:\/\/)?(\/[^():]+\.ts):(\d+):\d+\)?$/;

/** A call that is about to change something that outlives the process. */
export interface Effect {
  /** The call: of Node's file system, of a kernel worker, or `spawn`. */
  readonly name: string;
  /**
   * Stack frames in the repository as `FILE:LINE`, the innermost first, with all awaiting callers.
   */
  readonly frames: readonly string[];
}

/**
 * Called before every effect of the code in `node-agent`; a result is called right after its start.
 */
export type EffectHook = (effect: Effect) => (() => void) | undefined;

let hook: EffectHook | undefined;

/** Sets the hook; undefined removes it. */
export function watchEffects(next: EffectHook | undefined): void {
  hook = next;
}

/** Announces an effect of a test double that would be an effect in production. */
export function announceEffect(name: string): void {
  announce(name, true);
}

function announce(name: string, isStandIn = false): (() => void) | undefined {
  if (hook === undefined) return undefined;
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 100;
  const frames = framesOf(new Error().stack ?? '');
  Error.stackTraceLimit = stackTraceLimit;
  const [first] = frames;
  // Effects of the test itself do not count.
  if (first === undefined || (!isStandIn && first.startsWith('test/'))) return undefined;
  return hook({ name, frames: frames.filter((frame) => frame.startsWith('node-agent/')) });
}

function framesOf(stack: string): string[] {
  return stack.split('\n').flatMap((line) => {
    const [, file = '', number = ''] = FRAME.exec(line) ?? [];
    const path = relative(ROOT, file);
    const isOurs = file.startsWith(ROOT) && !path.startsWith('node_modules') && file !== import.meta.filename;
    return isOurs ? [`${path}:${number}`] : [];
  });
}

/** Wraps all calls with effects that outlive a process; the code under test is unchanged. */
export async function installEffects(): Promise<void> {
  const wrap = (
    holder: object,
    names: readonly string[],
    nameOf: (name: string, args: unknown[]) => string | undefined,
  ): void => {
    for (const name of names) {
      const original = Reflect.get(holder, name) as (...args: unknown[]) => unknown;
      Reflect.set(holder, name, function (this: unknown, ...args: unknown[]): unknown {
        const effect = nameOf(name, args);
        const begun = effect === undefined ? undefined : announce(effect);
        const result = Reflect.apply(original, this, args);
        begun?.();
        return result;
      });
    }
  };
  wrap(promises, FILE_EFFECTS, (name) => name);
  wrap(promises, ['open'], (name, [, flags = 'r']) => {
    const creates =
      typeof flags === 'number' ? (flags & constants.O_CREAT) !== 0 : /[wa]/.test(String(flags));
    return creates ? name : undefined;
  });
  const some = await promises.open('/dev/null');
  wrap(Object.getPrototypeOf(some) as object, HANDLE_EFFECTS, (name) => name);
  await some.close();
  wrap(childProcess, ['spawn'], (name) => name);
  wrap(Worker.prototype, ['postMessage'], (_, [message]) => {
    const { operation } = (message ?? {}) as { operation?: string };
    return operation !== undefined && isKernelEffect(operation) ? operation : undefined;
  });
  syncBuiltinESMExports();
}
