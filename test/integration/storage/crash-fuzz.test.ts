import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Fuzz } from '../../crash/fuzz.ts';
import type { Form } from '../../crash/scene.ts';
import { unmountBelow } from '../../crash/unmount.ts';
import { requireRoot } from './storage-lab.ts';

const FULL = process.env['KEELSON_CHAOS'] === 'full';
/** `KEELSON_CHAOS=full` runs as many operations as the release checks require. */
const OPERATIONS = FULL ? 1_000 : 40;
const SEED = Number(process.env['KEELSON_SEED'] ?? Date.now() % 1_000_000);

const FORMS: Readonly<Record<string, Form>> = {
  btrfs: { backend: 'btrfs', volumeMode: 'Filesystem' },
  image: { backend: 'image', volumeMode: 'Filesystem' },
  devices: { backend: 'image', volumeMode: 'Block' },
  directory: { backend: 'directory', volumeMode: 'Filesystem' },
};

it.for(Object.entries(FORMS))(
  '%s: after any mix of operations and kills, exactly what was acknowledged is there',
  { timeout: 1_800_000 },
  async ([name, form], context) => {
    requireRoot(context);
    console.log(`${name}: KEELSON_SEED=${SEED} repeats this`);
    await using cleanup = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'keelson-fuzz-'));
    cleanup.defer(() => rm(directory, { recursive: true, force: true }));
    cleanup.defer(() => unmountBelow(directory));
    await mkdir(join(directory, 'targets'));
    const fuzz = new Fuzz({ directory, form, seed: SEED + 1, operations: OPERATIONS, volumes: 20 });
    expect(await fuzz.run()).toBeGreaterThan(0);
  },
);
