import { expect, test } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { sleep } from './clock.ts';
import { deadlineSignal, linkSignals, raceSignal } from './signals.ts';

test('a linked signal aborts with the reason of the first source that does', () => {
  const a = new AbortController();
  const b = new AbortController();
  using linked = linkSignals(a.signal, undefined, b.signal);
  b.abort(new Error('b'));
  a.abort(new Error('a'));
  expect(linked.signal.reason).toEqual(new Error('b'));
});

test('a disposed link no longer follows its sources', () => {
  const source = new AbortController();
  const linked = linkSignals(source.signal);
  linked[Symbol.dispose]();
  source.abort();
  expect(linked.signal.aborted).toBe(false);
});

test('a deadline aborts with a TimeoutError and leaves no timer once disposed', async () => {
  const clock = new FakeClock();
  const deadline = deadlineSignal(100, { clock });
  await clock.advance(100);
  expect((deadline.signal.reason as Error).name).toBe('TimeoutError');
  const other = deadlineSignal(100, { clock });
  other[Symbol.dispose]();
  expect(clock.pending).toBe(0);
});

test('sleep ends early with the reason of its signal and leaves no timer', async () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const sleeping = sleep(1_000, { signal: stop.signal, clock });
  stop.abort(new Error('stop'));
  await expect(sleeping).rejects.toThrow('stop');
  expect(clock.pending).toBe(0);
});

test('raceSignal rejects at abort while the promise goes on, and a late rejection of it is not unhandled', async () => {
  const stop = new AbortController();
  const work = Promise.withResolvers<number>();
  const raced = raceSignal(work.promise, stop.signal);
  stop.abort(new Error('stop'));
  await expect(raced).rejects.toThrow('stop');
  work.reject(new Error('late'));
});
