import { link, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RemovalBudget, unlimitedRemoval } from '../../../node-agent/linux/files/removal-budget.ts';
import { removeTreeWithin } from '../../../node-agent/linux/files/remove-within.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { MIB, requireRoot } from './storage-lab.ts';

let directory: string;
let tree: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-tree-'));
  tree = join(directory, 'trash-v');
  await mkdir(tree);
});
afterEach(() => rm(directory, { recursive: true }));

const write = async (path: string, mebibytes: number): Promise<void> => {
  await writeFile(join(directory, path), Buffer.alloc(mebibytes << 20, 1));
};
const held = async (): Promise<bigint> => {
  let bytes = 0n;
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (entry.isFile())
      bytes += (await stat(join(entry.parentPath, entry.name), { bigint: true })).blocks * 512n;
  }
  return bytes;
};

it('a file within the budget is removed at once, whatever it is', async () => {
  await mkdir(join(tree, 'a/b/c'), { recursive: true });
  await write('trash-v/a/b/file', 1);
  await write('outside', 1);
  await symlink(directory, join(tree, 'a/link'));
  await link(join(directory, 'outside'), join(tree, 'a/b/second-name'));
  const budget = new RemovalBudget(16n * MIB);
  expect(await removeTreeWithin(tree, budget)).toBe(true);
  expect(await removeTreeWithin(tree, budget)).toBe(true);
  expect(await readdir(directory)).toEqual(['outside']);
  expect((await stat(join(directory, 'outside'))).size).toBe(1 << 20);
  expect(budget.hasPostponed).toBe(false);
  // One file of 1 MiB, and the entries around it; a file with another hard link frees nothing.
  expect(budget.leftBytes).toBeLessThan(15n * MIB);
  expect(budget.leftBytes).toBeGreaterThan(14n * MIB);
});

it('each run frees its budget, and at most a small file more', async () => {
  for (const name of ['a', 'b', 'c']) {
    await mkdir(join(tree, name));
    for (const file of ['1', '2', '3', '4']) await write(`trash-v/${name}/${file}`, 1);
  }
  let before = await held();
  let runs = 0;
  for (; before > 0n && runs < 100; runs += 1) {
    const budget = new RemovalBudget(3n * MIB);
    const isGone = await removeTreeWithin(tree, budget);
    const now = await held();
    expect(before - now).toBeLessThanOrEqual(4n * MIB);
    expect(budget.hasPostponed).toBe(!isGone);
    before = now;
  }
  expect(runs).toBeGreaterThanOrEqual(4);
  expect(runs).toBeLessThanOrEqual(6);
  await removeTreeWithin(tree, unlimitedRemoval());
  expect(await readdir(directory)).toEqual([]);
});

it('a large file is truncated in steps', async () => {
  await write('trash-v/large', 40);
  const budget = new RemovalBudget(10n * MIB);
  expect(await removeTreeWithin(tree, budget)).toBe(false);
  expect(budget.hasPostponed).toBe(true);
  expect(await held()).toBeLessThanOrEqual(31n * MIB);
  expect(await held()).toBeGreaterThanOrEqual(29n * MIB);
});

it('a file with another hard link is not truncated', async () => {
  await write('kept', 40);
  await link(join(directory, 'kept'), join(tree, 'large'));
  expect(await removeTreeWithin(tree, new RemovalBudget(10n * MIB))).toBe(true);
  expect((await stat(join(directory, 'kept'))).size).toBe(40 << 20);
});

it('many empty files take several runs as well', async () => {
  for (let number = 0; number < 20; number += 1) await write(`trash-v/${number}`, 0);
  expect(await removeTreeWithin(tree, new RemovalBudget(10n * 4096n))).toBe(false);
  expect(await readdir(tree)).toHaveLength(10);
});

it('a tree deeper than the descriptor limit is removed within the budget as well', async () => {
  let at = tree;
  for (let level = 0; level < 300; level += 1) {
    at = join(at, 'd');
    await mkdir(at);
  }
  for (const name of ['1', '2', '3']) await writeFile(join(at, name), Buffer.alloc(1 << 20, 1));
  const budget = new RemovalBudget(2n * MIB);
  let runs = 1;
  while (!(await removeTreeWithin(tree, runs === 1 ? budget : new RemovalBudget(2n * MIB)))) runs += 1;
  expect(budget.hasPostponed).toBe(true);
  expect(runs).toBeGreaterThanOrEqual(2);
  expect(await readdir(directory)).toEqual([]);
});

it('immutable files are removed last, and do not block others', async (context) => {
  requireRoot(context);
  await write('trash-v/large', 20);
  await write('trash-v/other', 1);
  await runCommand('chattr', ['+i', join(tree, 'large')]);
  expect(await removeTreeWithin(tree, new RemovalBudget(10n * MIB))).toBe(true);
  expect(await readdir(directory)).toEqual([]);
});
