/** Runs in an emulated machine after its power was cut. Arguments: disk, places, backend, a file with what was said before. */
import { readFile } from 'node:fs/promises';
import { startKernel } from '../../../node-agent/linux/kernel.ts';
import { BACKENDS } from '../../../src/core/backend-features.ts';
import { readPromised } from '../../integration/power-cut-acks.ts';
import { checkPromised } from '../../integration/power-cut-check.ts';

const [disk = '', places = '', wanted, said = ''] = process.argv.slice(2);
const backend = BACKENDS.find((known) => known === wanted);
if (backend === undefined) throw new Error(`no backend ${wanted}`);
await using kernel = startKernel({ name: 'check' });
const promised = readPromised(await readFile(said, 'utf8'));
await checkPromised({ disk, places, backend }, promised, kernel);
const { volumes, snapshots, texts, gone } = promised;
console.log(
  `${backend}: whole: ${volumes.size} volumes, ${snapshots.size} snapshots, ${texts.size} with data, ${gone.size} deleted`,
);
