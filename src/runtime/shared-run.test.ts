import { expect, test } from 'vitest';
import { SharedRun } from './shared-run.ts';

function setUp(): { shared: SharedRun<number>; ends: PromiseWithResolvers<number>[] } {
  const ends: PromiseWithResolvers<number>[] = [];
  const shared = new SharedRun(async () => {
    const end = Promise.withResolvers<number>();
    ends.push(end);
    return await end.promise;
  });
  return { shared, ends };
}

const settle = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));

test('one run serves all who ask before it begins, and the next all who ask while it runs', async () => {
  const { shared, ends } = setUp();
  const first = [shared.run(), shared.run()];
  await settle();
  expect(ends).toHaveLength(1);
  const second = [shared.run(), shared.run()];
  await settle();
  expect(ends).toHaveLength(1);
  ends[0]?.resolve(1);
  expect(await Promise.all(first)).toEqual([1, 1]);
  await settle();
  expect(ends).toHaveLength(2);
  ends[1]?.resolve(2);
  expect(await Promise.all(second)).toEqual([2, 2]);
});

test('a failed run fails for its own callers only', async () => {
  const { shared, ends } = setUp();
  const first = shared.run();
  await settle();
  const second = shared.run();
  ends[0]?.reject(new Error('broken'));
  await expect(first).rejects.toThrow('broken');
  await settle();
  ends[1]?.resolve(2);
  expect(await second).toBe(2);
});
