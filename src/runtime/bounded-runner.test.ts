import { expect, test } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { BoundedRunner } from './bounded-runner.ts';
import { silentLogger } from './logger.ts';

function setup(work: () => Promise<void>) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const runner = new BoundedRunner(
    { name: 'test', minIntervalMs: 100, maxIntervalMs: 1_000, retryMs: 300 },
    work,
    { logger: silentLogger, clock },
  );
  const running = runner.run(stop.signal);
  return {
    clock,
    runner,
    async end() {
      stop.abort(new Error('stop'));
      await running;
    },
  };
}

test('it runs at once, gathers pokes within the minimum interval, and resyncs at the maximum', async () => {
  const atMs: number[] = [];
  const { clock, runner, end } = setup(async () => {
    atMs.push(clock.monotonicMs());
  });
  await clock.advance(10);
  runner.poke();
  runner.poke();
  await clock.advance(500);
  expect(atMs).toEqual([0, 100]);
  runner.poke();
  await clock.advance(0);
  expect(atMs).toEqual([0, 100, 510]);
  await clock.advance(1_000);
  expect(atMs).toEqual([0, 100, 510, 1_510]);
  await end();
});

test('a poke during a run causes another run after the minimum interval', async () => {
  const atMs: number[] = [];
  const gate = Promise.withResolvers<undefined>();
  const { clock, runner, end } = setup(async () => {
    atMs.push(clock.monotonicMs());
    if (atMs.length === 1) await gate.promise;
  });
  await clock.advance(50);
  runner.poke();
  gate.resolve(undefined);
  await clock.advance(99);
  expect(atMs).toEqual([0]);
  await clock.advance(1);
  expect(atMs).toEqual([0, 150]);
  await end();
});

test('a failed run is repeated after the retry interval', async () => {
  const atMs: number[] = [];
  const { clock, end } = setup(async () => {
    atMs.push(clock.monotonicMs());
    if (atMs.length === 1) throw new Error('no');
  });
  await clock.advance(1_200);
  expect(atMs).toEqual([0, 300]);
  await end();
});

test('one that was stopped in the middle of its work runs at once when it is started again', async () => {
  const clock = new FakeClock();
  const first = new AbortController();
  let runs = 0;
  const runner = new BoundedRunner(
    { name: 'test', minIntervalMs: 100, maxIntervalMs: 1_000, retryMs: 300 },
    async (signal) => {
      runs += 1;
      first.abort(new Error('stop'));
      signal.throwIfAborted();
    },
    { logger: silentLogger, clock },
  );
  await runner.run(first.signal);
  const second = new AbortController();
  const running = runner.run(second.signal);
  await clock.advance(0);
  second.abort(new Error('stop'));
  await running;
  expect(runs).toBe(2);
});
