import type { BlockRange } from '../../src/core/volumes/block-map.ts';
import { Fault } from '../../src/core/fault.ts';
import type { BlockMetadata } from '../../src/rpc/gen/csi/v1/BlockMetadata.ts';
import type { CallContext, RpcStreamHandlers } from '../../src/rpc/server.ts';
import type { BlocksRequest } from '../storage/transfers/snapshot-blocks.ts';
import type { TransferService } from '../storage/transfers/volume-transfers.ts';
import { requireField } from './translate.ts';

/** The storage services that the SnapshotMetadata service uses. */
interface SnapshotMetadataStorage {
  readonly transfers: Pick<TransferService, 'openBlocks'>;
}

/** Limits the entries of a message to about 20 KiB, whatever the caller's max_results. */
const MAX_ENTRIES = 1024;

interface MetadataResponse {
  readonly block_metadata_type: 'VARIABLE_LENGTH';
  readonly volume_capacity_bytes: string;
  readonly block_metadata: BlockMetadata[];
}

/**
 * Creates the CSI SnapshotMetadata service, which lists the blocks that a backup has to read.
 * Ranges have variable length; a listed range may hold unchanged data.
 */
export function createSnapshotMetadata({
  storage,
}: {
  readonly storage: SnapshotMetadataStorage;
}): RpcStreamHandlers<'csi.v1.SnapshotMetadata'> {
  return {
    GetMetadataAllocated: (request, context) =>
      listBlocks(
        {
          snapshotId: requireField(request.snapshot_id, 'snapshot_id'),
          baseId: undefined,
          startOffset: BigInt(request.starting_offset),
        },
        { storage, maxResults: request.max_results, context },
      ),
    GetMetadataDelta: (request, context) => {
      const baseId = requireField(request.base_snapshot_id, 'base_snapshot_id');
      return listBlocks(
        {
          snapshotId: requireField(request.target_snapshot_id, 'target_snapshot_id'),
          baseId,
          startOffset: BigInt(request.starting_offset),
        },
        { storage, maxResults: request.max_results, context },
      );
    },
  };
}

async function* listBlocks(
  request: BlocksRequest,
  {
    storage,
    maxResults,
    context: { signal },
  }: {
    readonly storage: SnapshotMetadataStorage;
    readonly maxResults: number;
    readonly context: CallContext;
  },
): AsyncGenerator<MetadataResponse> {
  if (maxResults < 0) {
    throw new Fault('invalid', `max_results is ${maxResults}; it must not be negative`);
  }
  await using blocks = await storage.transfers.openBlocks(request);
  const toResponse = (ranges: readonly BlockRange[]): MetadataResponse => ({
    block_metadata_type: 'VARIABLE_LENGTH',
    volume_capacity_bytes: String(blocks.sizeBytes),
    block_metadata: ranges.map(({ start, end }) => ({
      byte_offset: String(start),
      size_bytes: String(end - start),
    })),
  });
  const maxEntries = maxResults === 0 ? MAX_ENTRIES : Math.min(maxResults, MAX_ENTRIES);
  let ranges: BlockRange[] = [];
  let hasSent = false;
  for await (const range of blocks.ranges()) {
    signal.throwIfAborted();
    ranges.push(range);
    if (ranges.length < maxEntries) continue;
    yield toResponse(ranges);
    ranges = [];
    hasSent = true;
  }
  // Without ranges, the caller still needs the volume's size.
  if (ranges.length > 0 || !hasSent) yield toResponse(ranges);
}
