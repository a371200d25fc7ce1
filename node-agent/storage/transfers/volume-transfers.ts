import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import { checkRoom } from '../../../src/core/pools/pool-capacity.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName } from '../../../src/core/volumes/volume-name.ts';
import type { ContentTransfer, StreamHeader } from '../contract/content-transfer.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import { type OperationDeps, undoCreation } from '../operations/volume-snapshot-operations.ts';
import { newId } from '../records/record-store.ts';
import type { Snapshots } from '../snapshots/snapshots.ts';
import type { Volumes } from '../volumes/volumes.ts';
import type { BlocksRequest, SnapshotBlockReader, SnapshotBlocks } from './snapshot-blocks.ts';
import { decodeStream, encodeStream, type OpenStream } from './volume-stream.ts';

/** A request to export a volume or snapshot. */
export interface ExportRequest {
  /** Id or name of a volume or snapshot. */
  readonly source: string;
  /** Id or name of an older snapshot of the same volume, to export only the difference to it. */
  readonly parent: string | undefined;
  readonly signal: AbortSignal;
}

/** The content of a volume or snapshot as a stream. Dispose it, read or not. */
export interface ExportedStream extends AsyncDisposable {
  readonly header: StreamHeader;
  chunks(): AsyncGenerator<Buffer>;
}

/** A request to import a stream as a volume. */
export interface ImportRequest {
  readonly name: string;
  readonly pool: string | undefined;
  /** Keeps the imported snapshot, so that later differences can be imported on top of it. */
  readonly keepBase: boolean;
  readonly input: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

/**
 * Reads the content of volumes and snapshots of one node, and creates volumes from such content.
 */
export interface TransferService {
  /**
   * Exports a snapshot, or a volume as of now. Throws `not-found` for an unknown source, `invalid`
   * for a parent that is not an older snapshot of the same volume.
   */
  export(request: ExportRequest): Promise<ExportedStream>;
  /**
   * Ensures the volume of a stream. Throws `invalid` for a damaged stream, `precondition` when the
   * snapshot that it is a difference to is not on this node, `conflict` when the name or the
   * snapshot exists with other content.
   */
  import(request: ImportRequest): Promise<Volume>;
  /**
   * Lists the blocks of a Block snapshot that hold data, or that may differ from an older snapshot
   * (CSI SnapshotMetadata). Dispose the result.
   */
  openBlocks(request: BlocksRequest): Promise<SnapshotBlocks>;
}

/** Returns `transfers` and `blocks` as a service, with its operations run by `runner`. */
export function createTransferService(
  transfers: VolumeTransfers,
  { blocks, runner }: { readonly blocks: SnapshotBlockReader; readonly runner: OperationRunner },
): TransferService {
  return {
    export: (request) => runner.run('export_volume', () => transfers.export(request)),
    import: (request) => runner.run('import_volume', () => transfers.import(request)),
    openBlocks: (request) => runner.track(() => blocks.open(request)),
  };
}

export interface VolumeTransfersDeps extends OperationDeps {
  readonly volumes: Volumes;
  readonly snapshots: Snapshots;
}

/** Exports volumes as streams, and imports such streams as volumes. */
export class VolumeTransfers {
  readonly #deps: VolumeTransfersDeps;

  constructor(deps: VolumeTransfersDeps) {
    this.#deps = deps;
  }

  /** See `TransferService.export`. */
  async export({ source, parent: parentKey, signal }: ExportRequest): Promise<ExportedStream> {
    const { records, snapshots } = this.#deps;
    await using opened = new AsyncDisposableStack();
    const found = find(records.snapshots, source);
    const volume = found === undefined ? find(records.volumes, source) : undefined;
    if (found === undefined && volume === undefined) {
      throw new Fault('not-found', `volume or snapshot ${source.slice(0, 128)} does not exist on this node`);
    }
    const parent = parentKey === undefined ? undefined : find(records.snapshots, parentKey);
    if (parentKey !== undefined && parent === undefined) {
      throw new Fault('not-found', `snapshot ${parentKey.slice(0, 128)} does not exist on this node`);
    }
    const snapshot = found ?? opened.use(await snapshots.createTemporary(volume?.id ?? '')).snapshot;
    if (parent !== undefined) requireParent(parent, snapshot);
    const transfer = this.#transferOf(snapshot.pool, snapshot);
    const content = opened.use(await transfer.send(snapshot.id, parent?.id, signal));
    // A temporary snapshot still exists while a pipe imports it on the same node, so the import
    // needs another id. A btrfs stream has its snapshot's name inside.
    const keepsId = found !== undefined || transfer.encoding === 'btrfs';
    const header: StreamHeader = {
      encoding: transfer.encoding,
      snapshotId: keepsId ? snapshot.id : newId('snap'),
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

  /** See `TransferService.import`. */
  async import(request: ImportRequest): Promise<Volume> {
    const { records, locks } = this.#deps;
    const { name, pool: requestedPool, keepBase, input, signal } = request;
    checkName(name, 'name');
    using _import = locks.take(`import of ${name}`);
    const stream = await decodeStream(input);
    const { header } = stream;
    const existing = find(records.volumes, name);
    if (existing !== undefined && existing.source?.id !== header.snapshotId) {
      throw new Fault('conflict', `volume ${name} exists on this node; choose another name`);
    }
    const hasBase = records.snapshots.get(header.snapshotId)?.phase === 'ready';
    if (existing !== undefined && (!keepBase || hasBase)) {
      // A repeated request: its stream is still read to the end, which verifies it.
      for await (const _ of stream.frames()) signal.throwIfAborted();
      return existing;
    }
    const pool = await this.#choosePool(header, requestedPool);
    return await this.#receive(request, stream, pool);
  }

  /** Receives the content as a snapshot and restores the volume from it. */
  async #receive(
    { name, keepBase, signal }: ImportRequest,
    { header, frames }: OpenStream,
    pool: string,
  ): Promise<Volume> {
    const { records, ledger, locks, logger } = this.#deps;
    const transfer = this.#transferOf(pool, header);
    requireEncoding(transfer, header, pool);
    const snapshot = importedSnapshot(header, pool);
    const { capacity } = await ledger.measure(pool);
    if (records.snapshots.has(snapshot.id)) {
      throw new Fault(
        'conflict',
        `snapshot ${snapshot.id} exists on this node or is being imported; restore a volume from it, delete it, or import later`,
        { fields: { snapshotId: snapshot.id } },
      );
    }
    using _snapshot = locks.take(snapshot.id);
    checkRoom(pool, header.sizeBytes, capacity(), `import of volume ${name}`);
    try {
      // Crash window: record saved, content partial or complete, volume absent or created. Recovery
      // removes the snapshot, and an incomplete volume; a repeated import reuses a complete volume.
      await records.saveSnapshot(snapshot);
      await transfer.receive(snapshot.id, header, frames(), signal);
      const volume = await this.#restore(name, snapshot);
      if (keepBase) await records.saveSnapshot({ ...snapshot, phase: 'ready' });
      else await undoCreation('snapshot', snapshot, this.#deps);
      logger.info({ volumeId: volume.id, pool, snapshotId: snapshot.id, keepBase }, 'volume imported');
      return volume;
    } catch (error) {
      await undoCreation('snapshot', snapshot, this.#deps);
      throw error;
    }
  }

  async #restore(name: string, snapshot: Snapshot): Promise<Volume> {
    const { id, pool, volumeMode, fsType, sizeBytes } = snapshot;
    return await this.#deps.volumes.create(
      {
        name,
        pool,
        volumeMode,
        fsType,
        range: { requiredBytes: sizeBytes, limitBytes: 0n },
        source: { kind: 'snapshot', id },
      },
      snapshot,
    );
  }

  async #choosePool(header: StreamHeader, requested: string | undefined): Promise<string> {
    const { parentId, encoding, volumeMode, fsType, encryption } = header;
    if (parentId === null) {
      const backend: BackendKind | undefined =
        encoding === 'btrfs' ? 'btrfs' : volumeMode === 'Block' ? undefined : 'image';
      const form = { volumeMode, fsType: fsType ?? undefined, encrypted: encryption !== null };
      return (await this.#deps.volumes.roomiest({ pool: requested, backend, ...form })).pool;
    }
    const parent = this.#deps.records.snapshots.get(parentId);
    if (parent?.phase !== 'ready') {
      throw new Fault(
        'precondition',
        `the stream is a difference to snapshot ${parentId}, which is not on this node; import that one first, with --keep-base`,
        { fields: { parentId } },
      );
    }
    if (requested === undefined || requested === parent.pool) return parent.pool;
    throw new Fault(
      'invalid',
      `the stream is a difference to snapshot ${parentId} in pool ${parent.pool}; it cannot be imported into pool ${requested}`,
    );
  }

  #transferOf(pool: string, { volumeMode }: Pick<Snapshot, 'volumeMode'>): ContentTransfer {
    const transfer = this.#deps.ledger.pool(pool).transfers?.[volumeMode];
    if (transfer !== undefined) return transfer;
    throw new Fault('unsupported', `pool ${pool} does not support export and import`);
  }
}

function importedSnapshot(header: StreamHeader, pool: string): Snapshot {
  return {
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
}

function requireEncoding(transfer: ContentTransfer, header: StreamHeader, pool: string): void {
  if (transfer.encoding === header.encoding) return;
  const backend = header.encoding === 'btrfs' ? 'btrfs' : 'image';
  throw new Fault(
    'invalid',
    `the stream needs a pool with backend ${backend}; pool ${pool} has another backend`,
  );
}

function requireParent(parent: Snapshot, { id, pool, sourceVolumeId, createdAtMs }: Snapshot): void {
  const isSame = parent.sourceVolumeId === sourceVolumeId && parent.pool === pool;
  if (isSame && parent.createdAtMs <= createdAtMs && parent.id !== id) return;
  throw new Fault('invalid', `snapshot ${parent.id} is not an older snapshot of the volume of ${id}`, {
    fields: { parentId: parent.id, snapshotId: id },
  });
}

/** Finds a finished record by id, or else by name. */
function find<T extends Volume | Snapshot>(records: ReadonlyMap<string, T>, key: string): T | undefined {
  const found = records.get(key) ?? [...records.values()].find(({ name }) => name === key);
  return found?.phase === 'ready' ? found : undefined;
}
