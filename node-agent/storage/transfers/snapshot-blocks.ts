import { type BlockRange, joinRanges } from '../../../src/core/volumes/block-map.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { Snapshot } from '../../../src/core/volumes/volume.ts';
import { changedLists } from '../content/changed-blocks.ts';
import type { BlockMap } from '../contract/block-map.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';

/** A request for the blocks of a Block snapshot. */
export interface BlocksRequest {
  readonly snapshotId: string;
  /** Lists only blocks that may differ from this older snapshot; undefined: all that hold data. */
  readonly baseId: string | undefined;
  readonly startOffset: bigint;
}

/** The blocks of one snapshot. Iterate to the end, or dispose it. */
export interface SnapshotBlocks extends AsyncDisposable {
  readonly sizeBytes: bigint;
  /**
   * Yields ranges by ascending offset, without overlap. Throws `unavailable` when the file system
   * keeps moving the data while it is read.
   */
  ranges(): AsyncGenerator<BlockRange>;
}

/** Starting offsets are rounded down to a multiple of this. */
const BLOCK_BYTES = 4096n;

/** Compares snapshots by the location of their extents on disk, without reading data. */
export class SnapshotBlockReader {
  readonly #deps: Pick<OperationDeps, 'records' | 'ledger'>;

  constructor(deps: Pick<OperationDeps, 'records' | 'ledger'>) {
    this.#deps = deps;
  }

  /**
   * Opens the blocks of a snapshot. Throws `not-found` for an unknown snapshot, `invalid` if the
   * base is not an older snapshot of the same volume, `out-of-range` for an offset beyond the end,
   * and `precondition` for a Filesystem snapshot or a pool that cannot share data between files.
   */
  async open({ snapshotId, baseId, startOffset }: BlocksRequest): Promise<SnapshotBlocks> {
    await using opened = new AsyncDisposableStack();
    const snapshot = this.#find(snapshotId);
    const target = opened.use(await this.#openMap(snapshot));
    const base =
      baseId === undefined ? undefined : opened.use(await this.#openBase(snapshot, this.#find(baseId)));
    const { sizeBytes } = target;
    if (startOffset < 0n || startOffset > sizeBytes) {
      throw new Fault(
        'out-of-range',
        `starting_offset is ${startOffset}; snapshot ${snapshotId} has ${sizeBytes} bytes`,
        { fields: { snapshotId } },
      );
    }
    const start = startOffset - (startOffset % BLOCK_BYTES);
    const owned = opened.move();
    return {
      sizeBytes,
      ranges: () => joined(base === undefined ? allocated(target, start) : changed(base, target, start)),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }

  #find(id: string): Snapshot {
    const found = this.#deps.records.snapshots.get(id);
    if (found?.phase === 'ready') return found;
    throw new Fault('not-found', `snapshot ${id.slice(0, 128)} does not exist on this node`);
  }

  async #openBase(snapshot: Snapshot, base: Snapshot): Promise<BlockMap> {
    const fields = { snapshotId: snapshot.id, baseId: base.id };
    if (base.sourceVolumeId !== snapshot.sourceVolumeId) {
      throw new Fault(
        'invalid',
        `snapshots ${base.id} and ${snapshot.id} are of different volumes, ${base.sourceVolumeId} and ${snapshot.sourceVolumeId}; base and target must be of one volume`,
        { fields },
      );
    }
    if (base.createdAtMs > snapshot.createdAtMs) {
      throw new Fault('invalid', `base ${base.id} is newer than target ${snapshot.id}; swap them`, {
        fields,
      });
    }
    const { features } = this.#deps.ledger.pool(snapshot.pool).backend;
    if (features.copies !== 'constant') {
      throw new Fault(
        'precondition',
        `pool ${snapshot.pool} cannot share data between files, so changed blocks are unknown: take a full backup, or use a pool on XFS or btrfs`,
        { fields },
      );
    }
    return await this.#openMap(base);
  }

  async #openMap({ id, pool: poolName, volumeMode }: Snapshot): Promise<BlockMap> {
    if (volumeMode !== 'Block') {
      throw new Fault(
        'precondition',
        `snapshot ${id} is of a ${volumeMode} volume; block metadata exists for Block volumes only: back up its files`,
        { fields: { snapshotId: id } },
      );
    }
    const map = await this.#deps.ledger.pool(poolName).blockMaps?.open(id);
    if (map !== undefined) return map;
    throw new Fault('not-found', `the data of snapshot ${id} is not in pool ${poolName}`, {
      fields: { snapshotId: id },
    });
  }
}

async function* allocated(map: BlockMap, start: bigint): AsyncGenerator<BlockRange> {
  for (let from = start; from < map.sizeBytes; ) {
    const list = await map.read(from);
    yield* list.extents;
    from = list.end;
  }
}

async function* changed(base: BlockMap, target: BlockMap, start: bigint): AsyncGenerator<BlockRange> {
  for await (const { ranges } of changedLists(base, target, start)) yield* ranges;
}

/** Joins adjacent ranges, also across the lists that they come from. */
async function* joined(ranges: AsyncGenerator<BlockRange>): AsyncGenerator<BlockRange> {
  let open: BlockRange | undefined;
  for await (const next of ranges) {
    const [first, second] = open === undefined ? [next] : joinRanges([open, next]);
    if (second !== undefined && first !== undefined) yield first;
    open = second ?? first;
  }
  if (open !== undefined) yield open;
}
