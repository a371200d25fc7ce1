import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { crdFiles } from './crd-files.ts';

const directory = join(import.meta.dirname, '../../deploy/crds');

describe('the CustomResourceDefinitions in deploy/crds', () => {
  it('are those that src/api describes: run node scripts/generate-crds.ts', async () => {
    const committed = new Map<string, string>();
    for (const file of await readdir(directory)) {
      committed.set(file, await readFile(join(directory, file), 'utf8'));
    }
    expect(Object.fromEntries(committed)).toEqual(Object.fromEntries(crdFiles()));
  });

  it('describe every field, so that kubectl explain has an answer', () => {
    const silent = [...crdFiles().values()].filter(
      (text) => /- type: object\n/.test(text) && !text.includes('description'),
    );
    expect(silent).toEqual([]);
  });
});
