import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { generateRpcTypes } from './generate-rpc-types.ts';

const COMMITTED = join(import.meta.dirname, '../src/rpc/gen');

it('src/rpc/gen is what the protos generate; run `npm run gen` when this fails', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-gen-'));
  await using _cleanup = {
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
  await generateRpcTypes(directory);
  const [fresh, committed] = await Promise.all([readTree(directory), readTree(COMMITTED)]);
  expect([...committed.keys()]).toEqual([...fresh.keys()]);
  expect([...committed].filter(([file, text]) => fresh.get(file) !== text).map(([file]) => file)).toEqual([]);
}, 30_000);

async function readTree(directory: string): Promise<ReadonlyMap<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(files.sort().map((file) => readFile(file, 'utf8')));
  return new Map(files.map((file, index) => [file.slice(directory.length + 1), texts[index] ?? '']));
}
