import { type BlockRange, joinRanges } from '../../../src/core/volumes/block-map.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { Snapshot } from '../../../src/core/volumes/volume.ts';
import { changedLists } from '../content/changed-blocks.ts';
import type { BlockMap } from '../contract/block-map.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';

/** Which blocks of a Block snapshot are asked for. */
export interface BlocksWanted {
  readonly snapshotId: string;
  /** Only those that may differ from this older snapshot of the same volume; undefined: all that hold data. */
  readonly baseId: string | undefined;
  readonly startOffset: bigint;
}

/** The blocks of one snapshot. Iterate over them to the end, or dispose it. */
export interface SnapshotBlocks extends AsyncDisposable {
  readonly sizeBytes: bigint;
  /** By rising offset, without overlap. Throws `unavailable` when the file system moves data faster than it can be looked at. */
  ranges(): AsyncGenerator<BlockRange>;
}

/** Starting offsets are taken back to a whole block of this. */
const BLOCK_BYTES = 4096n;

/** Tells which blocks snapshots hold and in which two differ, from where their data lies: none of it is read. */
export class SnapshotBlockReader {
  readonly #deps: Pick<OperationDeps, 'inventory' | 'ledger'>;

  constructor(deps: Pick<OperationDeps, 'inventory' | 'ledger'>) {
    this.#deps = deps;
  }

  /**
   * Throws `not-found`, `invalid` for snapshots that are not two of one volume in their order, `out-of-range` for an offset beyond the end,
   * `precondition` where there is no telling: snapshots of file systems, and differences where copies share nothing.
   */
  async open({ snapshotId, baseId, startOffset }: BlocksWanted): Promise<SnapshotBlocks> {
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
    const found = this.#deps.inventory.snapshots.get(id);
    if (found?.phase === 'ready') return found;
    throw new Fault('not-found', `snapshot ${id.slice(0, 128)} does not exist on this node`);
  }

  async #openBase(snapshot: Snapshot, base: Snapshot): Promise<BlockMap> {
    const fields = { snapshotId: snapshot.id, baseId: base.id };
    if (base.sourceVolumeId !== snapshot.sourceVolumeId) {
      throw new Fault(
        'invalid',
        `snapshots ${base.id} and ${snapshot.id} are of two volumes, ${base.sourceVolumeId} and ${snapshot.sourceVolumeId}; differences are told within one`,
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
        `pool ${snapshot.pool} cannot share data between files, so it does not know what changed: take a full backup, or a pool on XFS or btrfs`,
        { fields },
      );
    }
    return await this.#openMap(base);
  }

  async #openMap({ id, pool: poolName, volumeMode }: Snapshot): Promise<BlockMap> {
    if (volumeMode !== 'Block') {
      throw new Fault(
        'precondition',
        `snapshot ${id} is of a ${volumeMode} volume; blocks are told of Block volumes only: back its files up`,
        { fields: { snapshotId: id } },
      );
    }
    const map = await this.#deps.ledger.pool(poolName).blockMaps?.open(id);
    if (map !== undefined) return map;
    throw new Fault('not-found', `the data of snapshot ${id} is not in its pool`, {
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

/** Joins ranges that touch, also across the pieces that they were read in. */
async function* joined(ranges: AsyncGenerator<BlockRange>): AsyncGenerator<BlockRange> {
  let open: BlockRange | undefined;
  for await (const next of ranges) {
    const [first, second] = open === undefined ? [next] : joinRanges([open, next]);
    if (second !== undefined && first !== undefined) yield first;
    open = second ?? first;
  }
  if (open !== undefined) yield open;
}
