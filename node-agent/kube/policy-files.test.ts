import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { policiesDirectory, PolicyFiles } from './policy-files.ts';

let stateDir: string;
let current: string;
let files: PolicyFiles;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'keelson-policy-files-'));
  current = policiesDirectory(stateDir);
  files = new PolicyFiles({ stateDir });
});
afterEach(async () => {
  await rm(stateDir, { recursive: true });
});

const present = async (): Promise<Record<string, string>> => {
  const names = (await readdir(current)).sort();
  return Object.fromEntries(
    await Promise.all(
      names.map(async (name) => [name, await readFile(join(current, name), 'utf8')] as const),
    ),
  );
};
const set = (texts: Record<string, string>): Promise<boolean> =>
  files.replace(new Map(Object.entries(texts)));

test('the set is what was given last, and nothing of the sets before is left', async () => {
  expect(await set({ 'a.yaml': 'A', 'b.yaml': 'B' })).toBe(true);
  expect(await present()).toEqual({ 'a.yaml': 'A', 'b.yaml': 'B' });
  expect(await set({ 'b.yaml': 'B2' })).toBe(true);
  expect(await present()).toEqual({ 'b.yaml': 'B2' });
  expect(await set({})).toBe(true);
  expect(await present()).toEqual({});
  expect((await readdir(join(stateDir, 'policies'))).sort()).toEqual([
    'current',
    expect.stringMatching(/^set-/),
  ]);
});

test('the same set again is not written', async () => {
  await set({ 'a.yaml': 'A' });
  const link = await readlink(current);
  expect(await set({ 'a.yaml': 'A' })).toBe(false);
  expect(await readlink(current)).toBe(link);
});

test('a set is never changed under a reader: the new one is another directory', async () => {
  await set({ 'a.yaml': 'A' });
  const before = await readlink(current);
  await set({ 'a.yaml': 'A2' });
  expect(await readlink(current)).not.toBe(before);
});

test.each([
  [
    'a half set',
    async (home: string) => {
      await mkdir(join(home, 'set-0.new'));
      await writeFile(join(home, 'set-0.new', 'x.yaml'), 'x');
    },
  ],
  ['a whole set that no link leads to', async (home: string) => await mkdir(join(home, 'set-1'))],
  [
    'a link that was not renamed yet',
    async (home: string) => await symlink('set-1', join(home, 'current.new')),
  ],
])('leftovers of a crash do no harm: %s', async (_, leave) => {
  await set({ 'a.yaml': 'A' });
  await leave(join(stateDir, 'policies'));
  expect(await present()).toEqual({ 'a.yaml': 'A' });
  await set({ 'a.yaml': 'A2' });
  expect(await present()).toEqual({ 'a.yaml': 'A2' });
  expect(await readdir(join(stateDir, 'policies'))).toHaveLength(2);
});
