import { mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RemovalBudget } from './removal-budget.ts';
import { removeTrashFile } from './trash-file.ts';

const MIB = 1n << 20n;
const free = { isInUse: async () => false, stepBytes: MIB };

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-trash-'));
  path = join(directory, 'trash-v.img');
});
afterEach(() => rm(directory, { recursive: true }));

async function make(dataMib: number, holeMib = 0): Promise<void> {
  await using file = await open(path, 'w');
  await file.write(Buffer.alloc(dataMib << 20, 1));
  await file.truncate((dataMib + holeMib) << 20);
  await file.sync();
}
const allocated = async (): Promise<bigint> => (await stat(path, { bigint: true })).blocks * 512n;

it('a file within the budget is removed at once', async () => {
  await make(2);
  const budget = new RemovalBudget(8n * MIB);
  expect(await removeTrashFile(path, budget, free)).toBe(true);
  expect(await readdir(directory)).toEqual([]);
  expect(budget.hasPostponed).toBe(false);
  expect(budget.leftBytes).toBeLessThanOrEqual(6n * MIB);
});

it('a larger file is truncated from its end, one budget per run, until it is removed', async () => {
  await make(8, 100);
  const seen: bigint[] = [];
  let runs = 0;
  for (; runs < 20; runs += 1) {
    const before = await allocated();
    const budget = new RemovalBudget(3n * MIB);
    if (await removeTrashFile(path, budget, free)) break;
    expect(budget.hasPostponed).toBe(true);
    const freed = before - (await allocated());
    // At most the budget, and what the file system frees with the last block of it.
    expect(freed).toBeLessThanOrEqual(4n * MIB);
    seen.push(freed);
  }
  expect(runs).toBeGreaterThanOrEqual(2);
  expect(seen.every((freed) => freed > 0n)).toBe(true);
  expect(await readdir(directory)).toEqual([]);
});

it("holes cost no budget, whatever the file's length", async () => {
  await make(1, 100_000);
  expect(await removeTrashFile(path, new RemovalBudget(2n * MIB), free)).toBe(true);
});

it('a file that is still attached as a device is unlinked, not truncated', async () => {
  await make(8);
  await using reader = await open(path, 'r');
  expect(await removeTrashFile(path, new RemovalBudget(MIB), { ...free, isInUse: async () => true })).toBe(
    true,
  );
  expect((await reader.stat()).size).toBe(8 << 20);
  expect(await readdir(directory)).toEqual([]);
});

it('nothing is removed once the budget is spent, and an absent file succeeds', async () => {
  await make(4);
  const budget = new RemovalBudget(MIB);
  budget.spend(MIB);
  expect(await removeTrashFile(path, budget, free)).toBe(false);
  expect(await allocated()).toBeGreaterThanOrEqual(4n * MIB);
  await rm(path);
  expect(await removeTrashFile(path, budget, free)).toBe(true);
});
