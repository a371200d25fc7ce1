import { expect, it } from 'vitest';
import { SharedSync } from './shared-sync.ts';

it('serves all who ask before it begins with one sync, and those who come during one with the next', async () => {
  const begun: PromiseWithResolvers<undefined>[] = [];
  const sync = new SharedSync(() => {
    const work = Promise.withResolvers<undefined>();
    begun.push(work);
    return work.promise;
  });
  const first = sync.run();
  await Promise.resolve();
  const late = [sync.run(), sync.run()];
  expect(begun).toHaveLength(1);
  begun[0]?.resolve(undefined);
  await first;
  await Promise.resolve();
  expect(begun).toHaveLength(2);
  begun[1]?.resolve(undefined);
  await Promise.all(late);
  expect(begun).toHaveLength(2);
});

it('fails for those whom it was for, and not for the next', async () => {
  let times = 0;
  const sync = new SharedSync(async () => {
    times += 1;
    if (times === 1) throw new Error('the disk is gone');
  });
  await expect(sync.run()).rejects.toThrow('the disk is gone');
  await expect(sync.run()).resolves.toBeUndefined();
});
