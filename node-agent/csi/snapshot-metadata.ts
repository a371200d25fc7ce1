import type { BlockRange } from '../../src/core/volumes/block-map.ts';
import { Fault } from '../../src/core/fault.ts';
import type { BlockMetadata } from '../../src/rpc/gen/csi/v1/BlockMetadata.ts';
import type { CallContext, RpcStreamHandlers } from '../../src/rpc/server.ts';
import type { BlocksWanted, SnapshotBlocks } from '../storage/transfers/snapshot-blocks.ts';
import { requireField } from './translate.ts';

/** What the SnapshotMetadata service needs of the storage service. */
export interface BlockSource {
  openBlocks(wanted: BlocksWanted): Promise<SnapshotBlocks>;
}

/** Entries in a message when the caller leaves it to us: about 20 KiB. */
const DEFAULT_ENTRIES = 1024;

interface Answer {
  readonly block_metadata_type: 'VARIABLE_LENGTH';
  readonly volume_capacity_bytes: string;
  readonly block_metadata: BlockMetadata[];
}

/** CSI SnapshotMetadata: which blocks a backup has to read. Runs are as long as they are; a run that is told may hold what it held before. */
export function createSnapshotMetadata({
  storage,
}: {
  readonly storage: BlockSource;
}): RpcStreamHandlers<'csi.v1.SnapshotMetadata'> {
  async function* tell(
    wanted: BlocksWanted,
    maxResults: number,
    { signal }: CallContext,
  ): AsyncGenerator<Answer> {
    if (maxResults < 0) throw new Fault('invalid', `max_results is ${maxResults}; write 0 or more`);
    await using blocks = await storage.openBlocks(wanted);
    const answer = (ranges: readonly BlockRange[]): Answer => ({
      block_metadata_type: 'VARIABLE_LENGTH',
      volume_capacity_bytes: String(blocks.sizeBytes),
      block_metadata: ranges.map(({ start, end }) => ({
        byte_offset: String(start),
        size_bytes: String(end - start),
      })),
    });
    const most = maxResults === 0 ? DEFAULT_ENTRIES : Math.min(maxResults, DEFAULT_ENTRIES);
    let ranges: BlockRange[] = [];
    let isTold = false;
    for await (const range of blocks.ranges()) {
      signal.throwIfAborted();
      ranges.push(range);
      if (ranges.length < most) continue;
      yield answer(ranges);
      ranges = [];
      isTold = true;
    }
    // Where there is nothing, the caller still learns the size.
    if (ranges.length > 0 || !isTold) yield answer(ranges);
  }

  return {
    GetMetadataAllocated: (request, context) => {
      const wanted = {
        snapshotId: requireField(request.snapshot_id, 'snapshot_id'),
        baseId: undefined,
        startOffset: BigInt(request.starting_offset),
      };
      return tell(wanted, request.max_results, context);
    },
    GetMetadataDelta: (request, context) => {
      const baseId = requireField(request.base_snapshot_id, 'base_snapshot_id');
      const wanted = {
        snapshotId: requireField(request.target_snapshot_id, 'target_snapshot_id'),
        baseId,
        startOffset: BigInt(request.starting_offset),
      };
      return tell(wanted, request.max_results, context);
    },
  };
}
