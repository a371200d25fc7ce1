import { createInterface } from 'node:readline/promises';
import { Fault, isFault } from '../../src/core/fault.ts';
import type { StorageServices } from '../../node-agent/storage/services.ts';
import { type Effect, installEffects, watchEffects } from './effects.ts';
import { type Form, openScene } from './scene.ts';

type ServiceName = Exclude<keyof StorageServices, 'run'>;
/** `volumes.create`: a method of one of the storage services. */
export type Method = {
  [S in ServiceName]: `${S}.${Extract<keyof StorageServices[S], string>}`;
}[ServiceName];

/** A method of the services with its arguments, as sent through a pipe. */
export interface Call {
  readonly number: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}

/** The service's answer to the call of that number. */
export type Answer =
  | { readonly number: number; readonly result: unknown }
  | { readonly number: number; readonly kind: string; readonly message: string };

/** Encodes JSON with bigints. */
export function encode(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'bigint' ? { bigint: String(each) } : each,
  );
}

export function decode(text: string): unknown {
  return JSON.parse(text, (_, each: unknown) => {
    const isBigint = typeof each === 'object' && each !== null && 'bigint' in each;
    return isBigint ? BigInt((each as { bigint: string }).bigint) : each;
  });
}

/**
 * Serves a storage over standard input and output, and is killed at its `lives`th effect; 0: never.
 */
export async function serve(directory: string, form: Form, lives: number): Promise<void> {
  await installEffects();
  let effects = 0;
  const pass = (): void => {
    effects += 1;
    if (effects !== lives) return;
    process.kill(process.pid, 'SIGKILL');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  };
  watchEffects(({ name }: Effect) => {
    pass();
    return name === 'spawn' ? pass : undefined;
  });
  await using scene = await openScene(directory, form);
  const { storage } = scene;
  const end = new AbortController();
  const running = storage.run(end.signal).catch(() => undefined);
  const answer = (value: Answer): void => void process.stdout.write(`${encode(value)}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    const { number, method, args } = decode(line) as Call;
    const [service = '', name = ''] = method.split('.');
    const target = Reflect.get(storage, service) as object;
    const work = Reflect.get(target, name) as (...input: readonly unknown[]) => unknown;
    void Promise.resolve()
      .then(() => work(...args))
      .then(
        (result) => answer({ number, result }),
        (error: unknown) => {
          const { kind, message } = isFault(error) ? error : Fault.from(error);
          answer({ number, kind, message: error instanceof Error ? (error.stack ?? message) : message });
        },
      );
  }
  end.abort(new DOMException('stop', 'AbortError'));
  await running;
}
