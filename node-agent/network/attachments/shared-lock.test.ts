import { expect, it } from 'vitest';
import { settle } from '../../../test/fakes/fake-clock.ts';
import { SharedLock } from './shared-lock.ts';

/** Notes the order in which locks are granted. */
function waiters(lock: SharedLock): {
  readonly granted: string[];
  ask(name: string, kind: 'shared' | 'exclusive', signal?: AbortSignal): Promise<Disposable>;
} {
  const granted: string[] = [];
  return {
    granted,
    ask: async (name, kind, signal) => {
      const held = await lock[kind]({ signal });
      granted.push(name);
      return held;
    },
  };
}

it('lets many share and one alone, in the order of asking', async () => {
  const { granted, ask } = waiters(new SharedLock());
  const [a, b] = await Promise.all([ask('a', 'shared'), ask('b', 'shared')]);
  const alone = ask('gc', 'exclusive');
  const later = ask('c', 'shared');
  await settle();
  expect(granted).toEqual(['a', 'b']);
  a[Symbol.dispose]();
  a[Symbol.dispose]();
  await settle();
  expect(granted).toEqual(['a', 'b']);
  b[Symbol.dispose]();
  await settle();
  expect(granted).toEqual(['a', 'b', 'gc']);
  (await alone)[Symbol.dispose]();
  await later;
  expect(granted).toEqual(['a', 'b', 'gc', 'c']);
});

it('forgets a waiter that is cancelled, and lets those behind it pass', async () => {
  const { granted, ask } = waiters(new SharedLock());
  const held = await ask('a', 'shared');
  const gaveUp = new AbortController();
  const alone = ask('gc', 'exclusive', gaveUp.signal);
  const later = ask('b', 'shared');
  gaveUp.abort(new Error('cancelled'));
  await expect(alone).rejects.toThrow('cancelled');
  await later;
  expect(granted).toEqual(['a', 'b']);
  held[Symbol.dispose]();
});

it('passes on a turn that comes together with the cancellation', async () => {
  const { granted, ask } = waiters(new SharedLock());
  const held = await ask('a', 'exclusive');
  const gaveUp = new AbortController();
  const alone = ask('gc', 'exclusive', gaveUp.signal);
  await settle();
  gaveUp.abort(new Error('cancelled'));
  held[Symbol.dispose]();
  await expect(alone).rejects.toThrow('cancelled');
  (await ask('b', 'exclusive'))[Symbol.dispose]();
  expect(granted).toEqual(['a', 'b']);
});
