import { expect, test } from 'vitest';
import { FakeClock, settle } from '../../test/fakes/fake-clock.ts';
import { Fault } from '../core/fault.ts';
import { silentLogger } from './logger.ts';
import { WorkQueue } from './work-queue.ts';

function setup(
  work: (key: string) => Promise<{ afterMs: number } | undefined>,
  { workers = 1, maxMs = 1_000 }: { readonly workers?: number; readonly maxMs?: number } = {},
) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const queue = new WorkQueue<string>(
    { name: 'test', workers, backoff: { baseMs: 100, maxMs, jitter: 0 } },
    work,
    { logger: silentLogger, clock },
  );
  const running = queue.run(stop.signal);
  return {
    clock,
    queue,
    async end() {
      stop.abort(new Error('stop'));
      await running;
    },
  };
}

test('a key added many times before its turn is worked on once', async () => {
  const seen: string[] = [];
  const { queue, end } = setup(async (key) => {
    seen.push(key);
    return undefined;
  });
  queue.add('a');
  queue.add('a');
  queue.add('b');
  await settle();
  expect(seen).toEqual(['a', 'b']);
  await end();
});

test('a key added during its own work is worked on again, never at the same time', async () => {
  let active = 0;
  let most = 0;
  let runs = 0;
  const gate = Promise.withResolvers<undefined>();
  const { queue, end } = setup(
    async () => {
      active += 1;
      most = Math.max(most, active);
      runs += 1;
      if (runs === 1) await gate.promise;
      active -= 1;
      return undefined;
    },
    { workers: 4 },
  );
  queue.add('a');
  await settle();
  queue.add('a');
  await settle();
  expect(runs).toBe(1);
  gate.resolve(undefined);
  await settle();
  expect({ runs, most }).toEqual({ runs: 2, most: 1 });
  await end();
});

test('failing work is repeated with a delay that doubles, and success forgets the failures', async () => {
  const failures = [true, true, false, true, false];
  const atMs: number[] = [];
  const { clock, queue, end } = setup(async () => {
    atMs.push(clock.monotonicMs());
    if (failures.shift()) throw new Error('no');
    return undefined;
  });
  queue.add('a');
  await clock.advance(1_000);
  queue.add('a');
  await clock.advance(1_000);
  expect(atMs).toEqual([0, 100, 300, 1_000, 1_100]);
  await end();
});

test.each([
  ['unavailable', true],
  ['timeout', true],
  ['precondition', false],
] as const)('the delay after %s stays short: %s', async (kind, isShort) => {
  let tries = 0;
  const { clock, queue, end } = setup(
    async () => {
      tries += 1;
      throw new Fault(kind, 'no');
    },
    { maxMs: 3_600_000 },
  );
  queue.add('a');
  await clock.advance(3_600_000);
  const before = tries;
  await clock.advance(10_000);
  expect(tries - before).toBe(isShort ? 1 : 0);
  await end();
});

test('a result with a delay brings the key back after it, and an earlier add replaces the delay', async () => {
  const atMs: number[] = [];
  const { clock, queue, end } = setup(async () => {
    atMs.push(clock.monotonicMs());
    return atMs.length < 3 ? { afterMs: 500 } : undefined;
  });
  queue.add('a');
  await clock.advance(100);
  queue.add('a');
  await clock.advance(2_000);
  expect(atMs).toEqual([0, 100, 600]);
  expect(clock.pending).toBe(0);
  await end();
});
