import { expect, it } from 'vitest';
import { settle } from '../../../test/fakes/fake-clock.ts';
import { LinkReaper } from './link-reaper.ts';

/**
 * Links that are out of sight as soon as they are deleted, in a kernel that finishes when the test
 * says so.
 */
class SlowKernel {
  readonly links = new Set<string>();
  readonly batches: {
    readonly names: readonly string[];
    readonly finished: PromiseWithResolvers<undefined>;
  }[] = [];
  refuses = false;

  constructor(...links: string[]) {
    this.links = new Set(links);
  }

  has(name: string): Promise<boolean> {
    return Promise.resolve(this.links.has(name));
  }

  async delete(names: readonly string[]): Promise<void> {
    const finished = Promise.withResolvers<undefined>();
    this.batches.push({ names, finished });
    if (!this.refuses) for (const name of names) this.links.delete(name);
    await finished.promise;
  }

  finish(batch: number): void {
    this.batches[batch]?.finished.resolve(undefined);
  }

  get names(): readonly (readonly string[])[] {
    return this.batches.map(({ names }) => names);
  }
}

it('returns as soon as the link is out of sight, long before the kernel has finished', async () => {
  const kernel = new SlowKernel('a');
  expect(await new LinkReaper(kernel).remove('a')).toBe(true);
  expect(kernel.names).toEqual([['a']]);
});

it('asks nothing of the kernel for a link that is not there', async () => {
  const kernel = new SlowKernel();
  expect(await new LinkReaper(kernel).remove('a')).toBe(false);
  expect(kernel.names).toEqual([]);
});

it('lets one removal after another go without waiting for the one before', async () => {
  const kernel = new SlowKernel('a', 'b');
  const reaper = new LinkReaper(kernel);
  await reaper.remove('a');
  await reaper.remove('b');
  expect(kernel.names).toEqual([['a'], ['b']]);
});

it('gathers what comes while two deletions are waited for into one', async () => {
  const kernel = new SlowKernel('a', 'b', 'c', 'd');
  const reaper = new LinkReaper(kernel);
  await reaper.remove('a');
  await reaper.remove('b');
  const rest = Promise.all([reaper.remove('c'), reaper.remove('d')]);
  await settle();
  expect(kernel.names).toEqual([['a'], ['b']]);
  kernel.finish(0);
  expect(await rest).toEqual([true, true]);
  expect(kernel.names).toEqual([['a'], ['b'], ['c', 'd']]);
});

it('reports what the kernel says when it refuses', async () => {
  const kernel = new SlowKernel('a');
  kernel.refuses = true;
  const removal = new LinkReaper(kernel).remove('a');
  await settle();
  kernel.batches[0]?.finished.reject(new Error('refused'));
  await expect(removal).rejects.toThrow('refused');
});
