/**
 * Runs in an emulated machine after its power was cut. Arguments: disk, places, the name of the
 * pool, a file with what was said before.
 */
import { readFile } from 'node:fs/promises';
import { startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { readPromised } from '../../integration/storage/power-cut-acks.ts';
import { checkPromised } from '../../integration/storage/power-cut-check.ts';
import { parseCutPool } from '../../integration/storage/power-cut-pools.ts';

const [disk = '', places = '', wanted, said = ''] = process.argv.slice(2);
const pool = parseCutPool(wanted);
await using kernel = startKernel({ name: 'check' });
const promised = readPromised(await readFile(said, 'utf8'));
await checkPromised({ disk, places, pool }, promised, kernel);
const { volumes, snapshots, texts, deleted } = promised;
console.log(
  `${pool}: whole: ${volumes.size} volumes, ${snapshots.size} snapshots, ${texts.size} with data, ${deleted.size} deleted`,
);
