import { readdir, readFile } from 'node:fs/promises';
import { Fault } from '../../../src/core/fault.ts';
import { isId } from '../../../src/core/volumes/volume-name.ts';
import { readMountTable } from '../../linux/files/mount-table.ts';
import type { PoolSet } from '../contract/pool.ts';
import { quarantinedId } from '../contract/records.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';

export interface UnrecordedDataDeps
  extends Pick<OperationDeps, 'records' | 'locks' | 'logger' | 'onDiscarded'> {
  readonly pools: Pick<PoolSet, 'states'>;
  readonly findUse: (id: string) => Promise<string | undefined>;
}

/** Removes data of volumes and snapshots that have no record. */
export class UnrecordedData {
  readonly #deps: UnrecordedDataDeps;

  constructor(deps: UnrecordedDataDeps) {
    this.#deps = deps;
  }

  /** See `PoolService.removeUnrecorded`. */
  async remove(pool: string, id: string): Promise<void> {
    const { locks, logger, pools, findUse, onDiscarded } = this.#deps;
    if (!isId(id)) {
      throw new Fault('precondition', `${JSON.stringify(id.slice(0, 128))} is not the id of Keelson data`);
    }
    using _lock = locks.take(id);
    const record = this.#describeRecord(id);
    const use = record === undefined ? await findUse(id) : undefined;
    const why = record ?? (use === undefined ? undefined : `is in use: ${use}`);
    if (why !== undefined) throw new Fault('precondition', `data ${id} in pool ${pool} ${why}`);
    const backend = pools.states().find(({ name }) => name === pool)?.pool?.backend;
    if (backend === undefined) throw new Fault('unavailable', `pool ${pool} is not open`);
    const { volumes, snapshots } = await backend.list();
    if (volumes.includes(id)) await backend.discard('volume', id);
    if (snapshots.includes(id)) await backend.discard('snapshot', id);
    onDiscarded();
    logger.info({ data: id, pool }, 'unrecorded data removed');
  }

  #describeRecord(id: string): string | undefined {
    const { volumes, snapshots, quarantined } = this.#deps.records;
    if (volumes.has(id) || snapshots.has(id)) return 'has a record; delete the volume or snapshot';
    const isQuarantined = quarantined.some((record) => quarantinedId(record) === id);
    return isQuarantined ? 'has a record that cannot be read; see keelson doctor' : undefined;
  }
}

/** Returns a mount or loop device of the host that names the data's id; undefined for none. */
export async function findDataInUse(id: string): Promise<string | undefined> {
  const mount = (await readMountTable()).find((entry) =>
    [entry.root, entry.mountPoint, entry.source].some((text) => text.includes(id)),
  );
  if (mount !== undefined) return `mounted at ${mount.mountPoint}`;
  for (const device of await readdir('/sys/block')) {
    const file = device.startsWith('loop') ? await backingFile(device) : '';
    if (file.includes(id)) return `/dev/${device} is attached to ${file}`;
  }
  return undefined;
}

async function backingFile(device: string): Promise<string> {
  try {
    return (await readFile(`/sys/block/${device}/loop/backing_file`, 'utf8')).trimEnd();
  } catch {
    // The loop device has no file, or was detached in between.
    return '';
  }
}
