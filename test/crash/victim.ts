import { enableCompileCache } from 'node:module';
import { createInterface } from 'node:readline/promises';
import type { Effect } from './effects.ts';
import type { Operation } from './operation.ts';
import type { Moment, Said, Task } from './plan.ts';
import type { Form, Scene } from './scene.ts';

// A story runs hundreds of these processes.
enableCompileCache();
const { installEffects, watchEffects } = await import('./effects.ts');
const { checkData, checkNothingLeaks, isClean, strayQgroups, syncPool } = await import('./leaks.ts');
const { OPERATIONS } = await import('./operations.ts');
const { keyOf } = await import('./plan.ts');
const { furnish, openScene, runUntil } = await import('./scene.ts');
const { waitFor } = await import('../cluster/wait.ts');

/** One process of a story. Arguments: directory and form; its task is a line of standard input. */
const [directory = '', form = '{}'] = process.argv.slice(2);
await installEffects();

function say(said: Said): void {
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

/** Collects all moments from now on, and kills the process at the given one. */
function watch(at?: Moment): readonly Moment[] {
  const moments: Moment[] = [];
  const counts = new Map<string, number>();
  const pass = (effect: Effect, when: Moment['when']): void => {
    const key = keyOf({ ...effect, when });
    const occurrence = counts.get(key) ?? 0;
    counts.set(key, occurrence + 1);
    moments.push({ ...effect, when, occurrence });
    if (at === undefined || key !== keyOf(at) || occurrence !== at.occurrence) return;
    process.kill(process.pid, 'SIGKILL');
    // No code of this process runs after the signal.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  };
  watchEffects((effect) => {
    pass(effect, 'before');
    return effect.name === 'spawn' ? () => pass(effect, 'begun') : undefined;
  });
  return moments;
}

function operationOf(name: string): Operation {
  const operation = OPERATIONS[name];
  if (operation === undefined) throw new Error(`no operation ${name}`);
  return operation;
}

/**
 * Acts as the caller of a killed process: repeats the operation until it succeeds, and once more.
 */
async function finish(scene: Scene, name: string): Promise<void> {
  await checkNothingLeaks(scene, 'after a start');
  const operation = operationOf(name);
  await operation.run(scene);
  await operation.run(scene);
  await operation.check(scene);
  await operation.undo?.(scene);
  await checkNothingLeaks(scene);
}

async function trace(scene: Scene, operation: string): Promise<void> {
  const { prepare, run, check, undo } = operationOf(operation);
  await prepare?.(scene);
  const moments = watch();
  await run(scene);
  watchEffects(undefined);
  await check(scene);
  await undo?.(scene);
  await checkNothingLeaks(scene);
  say({ kind: 'traced', operation, moments });
}

async function act(task: Task, scene: Scene): Promise<void> {
  if (task.kind === 'furnish') {
    await furnish(scene);
    await checkNothingLeaks(scene);
  } else if (task.kind === 'trace') {
    for (const operation of task.operations) await trace(scene, operation);
  } else if (task.kind === 'end') {
    if (task.after !== undefined) await finish(scene, task.after);
    await checkData(scene);
    await checkNothingLeaks(scene);
  } else if (task.kind === 'wait for the file system') {
    await waitFor('no discarded data', () => isAllRemoved(), { timeoutMs: 120_000 });
  } else if (task.kind === 'die') {
    if (task.after !== undefined) await finish(scene, task.after);
    const { prepare, run } = operationOf(task.operation);
    await prepare?.(scene);
    watch(task.at);
    await run(scene);
    say({ kind: 'survived' });
  }
}

/**
 * Whether all discarded data is removed. Each service collects at its start, and what is freed
 * asynchronously then.
 */
async function isAllRemoved(): Promise<true | undefined> {
  await using scene = await openScene(directory, JSON.parse(form) as Form);
  await syncPool(scene);
  await runUntil(scene, 'all discarded data is removed', () => isClean(scene));
  return (await strayQgroups(scene)).length === 0 ? true : undefined;
}

const [line = ''] = await Array.fromAsync(createInterface({ input: process.stdin }));
const task = JSON.parse(line) as Task;
try {
  const recovery = watch(task.kind === 'die again' ? task.at : undefined);
  await using scene = await openScene(directory, JSON.parse(form) as Form);
  watchEffects(undefined);
  say({ kind: 'recovered', moments: recovery });
  await act(task, scene);
  say({ kind: 'done' });
} catch (error) {
  say({ kind: 'failed', error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
