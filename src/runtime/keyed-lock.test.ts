import { expect, test } from 'vitest';
import { settle } from '../../test/fakes/fake-clock.ts';
import { KeyedLock } from './keyed-lock.ts';

test('a second holder of the same key waits for the first, other keys do not', async () => {
  const lock = new KeyedLock();
  const order: string[] = [];
  const first = await lock.acquire('a');
  const second = lock.acquire('a').then((held) => {
    order.push('second');
    return held;
  });
  using _other = await lock.acquire('b');
  order.push('other key');
  await settle();
  first[Symbol.dispose]();
  using _second = await second;
  expect(order).toEqual(['other key', 'second']);
});

test('tryAcquire answers at once and undefined when the key is held', () => {
  const lock = new KeyedLock();
  const held = lock.tryAcquire('a');
  expect(held).toBeDefined();
  expect(lock.tryAcquire('a')).toBeUndefined();
  held?.[Symbol.dispose]();
  expect(lock.tryAcquire('a')).toBeDefined();
});

test('releasing twice does not free a later holder', async () => {
  const lock = new KeyedLock();
  const first = await lock.acquire('a');
  first[Symbol.dispose]();
  using _second = await lock.acquire('a');
  first[Symbol.dispose]();
  expect(lock.tryAcquire('a')).toBeUndefined();
});

test('a waiter that is cancelled is skipped and its turn goes to the next', async () => {
  const lock = new KeyedLock();
  const first = await lock.acquire('a');
  const abort = new AbortController();
  const given = lock.acquire('a', { signal: abort.signal });
  const third = lock.acquire('a');
  abort.abort(new Error('cancelled'));
  await expect(given).rejects.toThrow('cancelled');
  first[Symbol.dispose]();
  using _third = await third;
});

test('a turn that comes in the same tick as the abort is passed on, not lost', async () => {
  const lock = new KeyedLock();
  const first = await lock.acquire('a');
  const abort = new AbortController();
  const given = lock.acquire('a', { signal: abort.signal });
  abort.abort(new Error('cancelled'));
  first[Symbol.dispose]();
  await expect(given).rejects.toThrow('cancelled');
  await settle();
  expect(lock.tryAcquire('a')).toBeDefined();
});
