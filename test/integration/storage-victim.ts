import { startKernel } from '../../node-agent/linux/kernel.ts';
import { openStorage } from '../../node-agent/storage/storage.ts';
import { isFault } from '../../src/core/fault.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { filePool } from './storage-lab.ts';

/** Works on a pool as fast as it can, four operations at a time, until it is killed. Arguments: state directory, pool file, seed, backend. */
const [stateDir = '', file = '', seed = '1', backend = 'btrfs'] = process.argv.slice(2);
if (backend !== 'btrfs' && backend !== 'image' && backend !== 'directory') {
  throw new Error(`no backend ${backend}`);
}

const kernel = startKernel({ name: 'victim' });
const storage = await openStorage(
  {
    stateDir,
    pools: [{ ...filePool('default', file, 4n << 30n), backend, enforce: false }],
  },
  { kernel, logger: silentLogger },
);
void storage.run(new AbortController().signal);

let state = Number(seed);
/** A small generator of Park and Miller: a failing round can be repeated by its seed. */
function random(below: number): number {
  state = (state * 48_271) % 2_147_483_647;
  return state % below;
}

const range = { requiredBytes: 16n << 20n, limitBytes: 0n };
const operations = [
  () => storage.createVolume({ name: `n${random(20)}`, pool: undefined, range, source: undefined }),
  () => storage.createSnapshot(`s${random(10)}`, anyVolume()),
  () =>
    storage.createVolume({ name: `r${random(10)}`, pool: undefined, range, source: anySource('snapshot') }),
  () => storage.createVolume({ name: `c${random(10)}`, pool: undefined, range, source: anySource('volume') }),
  () => storage.stage(anyVolume(), '/staging'),
  () => storage.unstage(anyVolume(), '/staging'),
  () => storage.deleteVolume(anyVolume()),
  () => storage.deleteSnapshot(anySource('snapshot').id),
  () => storage.createGroup(`g${random(5)}`, [...new Set([anyVolume(), anyVolume()])]),
  () => storage.deleteGroup(anyGroup(), []),
  () => storage.expandVolume(anyVolume(), { requiredBytes: 17n << 20n, limitBytes: 0n }),
];

function anyVolume(): string {
  return anySource('volume').id;
}

function anyGroup(): string {
  const all = storage.listGroups();
  return all[random(all.length || 1)]?.id ?? 'none';
}

function anySource<K extends 'volume' | 'snapshot'>(kind: K): { readonly kind: K; readonly id: string } {
  const all = kind === 'volume' ? storage.listVolumes() : storage.listSnapshots();
  return { kind, id: all[random(all.length || 1)]?.id ?? 'none' };
}

async function work(): Promise<void> {
  for (;;) {
    try {
      await operations[random(operations.length)]?.();
    } catch (error) {
      // An ext4 that is staged does not grow without CAP_SYS_RESOURCE, which some sandboxes keep from root.
      // `invalid` is a member of a group that is to be deleted alone.
      const kinds = ['busy', 'conflict', 'not-found', 'out-of-range', 'invalid'];
      if (backend === 'directory') kinds.push('unsupported');
      const expected =
        isFault(error) && (kinds.includes(error.kind) || error.fields['program'] === 'resize2fs');
      if (!expected) console.error(error);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

await Promise.all([work(), work(), work(), work()]);
