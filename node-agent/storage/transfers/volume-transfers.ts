import { type BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName, formatId } from '../../../src/core/volumes/volume-name.ts';
import { type OperationDeps, randomId, undo } from '../operations/volume-snapshot-operations.ts';
import type { Snapshots } from '../snapshots/snapshots.ts';
import type { ContentTransfer, StreamHeader } from '../contract/content-transfer.ts';
import { decodeStream, encodeStream } from './volume-stream.ts';
import type { Volumes } from '../volumes/volumes.ts';

export interface ExportRequest {
  /** Id or name of a volume or of a snapshot. */
  readonly source: string;
  /** Id or name of an older snapshot of the same volume: only what differs is written. */
  readonly parent: string | undefined;
  readonly signal: AbortSignal;
}

/** A stream that leaves the node. Dispose it, read or not. */
export interface ExportedStream extends AsyncDisposable {
  readonly header: StreamHeader;
  chunks(): AsyncGenerator<Buffer>;
}

export interface ImportRequest {
  readonly name: string;
  readonly pool: string | undefined;
  /** Keeps the snapshot that was imported, so that later differences can be applied to it. */
  readonly keepBase: boolean;
  readonly input: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

export interface MovesDeps extends OperationDeps {
  readonly volumes: Volumes;
  readonly snapshots: Snapshots;
}

/** Volumes that leave this node as a stream, and come to it as one. */
export class Moves {
  readonly #deps: MovesDeps;

  constructor(deps: MovesDeps) {
    this.#deps = deps;
  }

  /**
   * The content of a snapshot, or of a volume as it is now. Throws `not-found` for an unknown source, `invalid` for a parent that is not an
   * older snapshot of the same volume.
   */
  async export({ source, parent: parentKey, signal }: ExportRequest): Promise<ExportedStream> {
    const { inventory, snapshots } = this.#deps;
    await using opened = new AsyncDisposableStack();
    const found = find(inventory.snapshots, source);
    const volume = found === undefined ? find(inventory.volumes, source) : undefined;
    if (found === undefined && volume === undefined) {
      throw new Fault('not-found', `there is no volume and no snapshot ${source.slice(0, 128)} on this node`);
    }
    const parent = parentKey === undefined ? undefined : find(inventory.snapshots, parentKey);
    if (parentKey !== undefined && parent === undefined) {
      throw new Fault('not-found', `there is no snapshot ${parentKey.slice(0, 128)} on this node`);
    }
    const snapshot = found ?? opened.use(await snapshots.borrow(volume?.id ?? '')).snapshot;
    if (parent !== undefined) requireParent(parent, snapshot);
    const transfers = this.#transfers(snapshot.pool, snapshot);
    const content = opened.use(await transfers.send(snapshot.id, parent?.id, signal));
    const { encoding } = transfers;
    // One that is only borrowed is still there while a pipe imports it on the same node. A stream of btrfs has its name inside.
    const isNamed = found !== undefined || encoding === 'btrfs';
    const header: StreamHeader = {
      encoding,
      snapshotId: isNamed ? snapshot.id : formatId('snap', randomId()),
      sourceVolumeId: snapshot.sourceVolumeId,
      createdAtMs: snapshot.createdAtMs,
      parentId: parent?.id ?? null,
      volumeMode: snapshot.volumeMode,
      fsType: snapshot.fsType ?? null,
      sizeBytes: snapshot.sizeBytes,
      contentBytes: content.contentBytes,
      encryption: snapshot.encryption ?? null,
    };
    const owned = opened.move();
    return {
      header,
      chunks: () => encodeStream(header, content.frames()),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }

  /**
   * Makes a volume of a stream: a whole one, or nothing. Once more under the same name, it is the volume that is there. Throws `invalid` for a
   * damaged stream, `precondition` when the snapshot that it is the difference to is not on this node, `conflict` when the name or the
   * snapshot is there already, and of something else.
   */
  async import({ name, pool: wanted, keepBase, input, signal }: ImportRequest): Promise<Volume> {
    const { inventory, ledger, locks, logger, volumes } = this.#deps;
    checkName(name, 'name');
    using _import = locks.take(`import of ${name}`);
    const { header, frames } = await decodeStream(input);
    const made = find(inventory.volumes, name);
    if (made !== undefined && made.source?.id !== header.snapshotId) {
      throw new Fault('conflict', `there is a volume ${name} on this node; choose another name`);
    }
    const isDone = !keepBase || inventory.snapshots.get(header.snapshotId)?.phase === 'ready';
    if (made !== undefined && isDone) {
      // Asked again by who did not hear that it was done. The stream is read all the same: he wants to know whether it is whole.
      for await (const _ of frames()) signal.throwIfAborted();
      return made;
    }
    const pool = await this.#choosePool(header, wanted);
    const transfers = this.#transfers(pool, header);
    if (transfers.encoding !== header.encoding) {
      const other = header.encoding === 'btrfs' ? 'btrfs' : 'image';
      throw new Fault(
        'invalid',
        `the stream is of backend ${other}, and pool ${pool} is not; name another pool`,
      );
    }
    const snapshot: Snapshot = {
      id: header.snapshotId,
      name: `import-${header.snapshotId}`,
      pool,
      sourceVolumeId: header.sourceVolumeId,
      sizeBytes: header.sizeBytes,
      volumeMode: header.volumeMode,
      fsType: header.fsType ?? undefined,
      encryption: header.encryption ?? undefined,
      phase: 'creating',
      createdAtMs: header.createdAtMs,
      pins: {},
    };
    const { capacity } = await ledger.measure(pool);
    if (inventory.snapshots.has(snapshot.id)) {
      throw new Fault(
        'conflict',
        `snapshot ${snapshot.id} is on this node already, or just being read; restore from it, delete it, or import later`,
        { fields: { snapshotId: snapshot.id } },
      );
    }
    using _snapshot = locks.take(snapshot.id);
    checkRoom(pool, header.sizeBytes, capacity(), `importing volume ${name}`);
    try {
      // Crash window: intent on record, some or all of it written, the volume made or not. The next start dissolves the snapshot, and the
      // volume where it is not whole. Where it is whole, the same import again finds it, and makes no more than the snapshot.
      await inventory.saveSnapshot(snapshot);
      await transfers.receive(snapshot.id, header, frames(), signal);
      const volume = await volumes.create(
        {
          name,
          pool,
          volumeMode: header.volumeMode,
          fsType: header.fsType ?? undefined,
          range: { requiredBytes: header.sizeBytes, limitBytes: 0n },
          source: { kind: 'snapshot', id: snapshot.id },
        },
        snapshot,
      );
      if (keepBase) await inventory.saveSnapshot({ ...snapshot, phase: 'ready' });
      else await undo('snapshot', snapshot, this.#deps);
      logger.info({ volumeId: volume.id, pool, snapshotId: snapshot.id, keepBase }, 'volume imported');
      return volume;
    } catch (error) {
      await undo('snapshot', snapshot, this.#deps);
      throw error;
    }
  }

  async #choosePool(
    { parentId, encoding, volumeMode, fsType, encryption }: StreamHeader,
    wanted: string | undefined,
  ): Promise<string> {
    if (parentId === null) {
      const backend: BackendKind | undefined =
        encoding === 'btrfs' ? 'btrfs' : volumeMode === 'Block' ? undefined : 'image';
      const form = { volumeMode, fsType: fsType ?? undefined, encrypted: encryption !== null };
      return (await this.#deps.volumes.roomiest({ pool: wanted, backend, ...form })).pool;
    }
    const parent = this.#deps.inventory.snapshots.get(parentId);
    if (parent?.phase !== 'ready') {
      throw new Fault(
        'precondition',
        `the stream is the difference to snapshot ${parentId}, which is not on this node; import that one first, with --keep-base`,
        { fields: { parentId } },
      );
    }
    if (wanted === undefined || wanted === parent.pool) return parent.pool;
    throw new Fault(
      'invalid',
      `snapshot ${parentId} is in pool ${parent.pool}, so this cannot go to ${wanted}`,
    );
  }

  #transfers(pool: string, { volumeMode }: Pick<Snapshot, 'volumeMode'>): ContentTransfer {
    const transfers = this.#deps.ledger.pool(pool).transfers?.[volumeMode];
    if (transfers !== undefined) return transfers;
    throw new Fault('unsupported', `volumes of pool ${pool} cannot be exported and imported`);
  }
}

function requireParent(parent: Snapshot, { id, pool, sourceVolumeId, createdAtMs }: Snapshot): void {
  const same = parent.sourceVolumeId === sourceVolumeId && parent.pool === pool;
  if (same && parent.createdAtMs <= createdAtMs && parent.id !== id) return;
  throw new Fault('invalid', `${parent.id} is no older snapshot of the volume of ${id}`, {
    fields: { parentId: parent.id, snapshotId: id },
  });
}

/** By its id, or by its name where that is no id. */
function find<T extends Volume | Snapshot>(records: ReadonlyMap<string, T>, key: string): T | undefined {
  const found = records.get(key) ?? [...records.values()].find(({ name }) => name === key);
  return found?.phase === 'ready' ? found : undefined;
}
