import { Fault } from '../../src/core/fault.ts';
import { paginate } from '../../src/core/volumes/volume-page.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import type { SnapshotService } from '../storage/snapshots/snapshots.ts';
import * as wire from './translate.ts';

/** The storage services that the snapshot calls of the Controller service use. */
export interface SnapshotStorage {
  readonly snapshots: SnapshotService;
}

/** Capabilities that the Controller service adds while the node offers snapshots and clones. */
export const COPY_CAPABILITIES = [
  'CREATE_DELETE_SNAPSHOT',
  'LIST_SNAPSHOTS',
  'GET_SNAPSHOT',
  'CLONE_VOLUME',
] as const;

/** Creates the snapshot calls of the CSI Controller service. */
export function createSnapshotCalls(
  { nodeName }: { readonly nodeName: string },
  { storage }: { readonly storage: SnapshotStorage },
): RpcHandlers<'csi.v1.Controller'> {
  return {
    async CreateSnapshot(request) {
      const name = wire.requireField(request.name, 'name');
      const source = wire.requireField(request.source_volume_id, 'source_volume_id');
      wire.refuseParameters(request.parameters, 'parameters');
      wire.checkTopology(request.accessibility_requirements, nodeName, 'snapshot');
      const snapshot = await storage.snapshots.create(name, source);
      return { snapshot: wire.toWireSnapshot(snapshot, nodeName) };
    },

    async DeleteSnapshot({ snapshot_id: id }) {
      await storage.snapshots.delete(wire.requireField(id, 'snapshot_id'));
      return {};
    },

    async GetSnapshot({ snapshot_id: id }) {
      wire.requireField(id, 'snapshot_id');
      const found = storage.snapshots.list().find((snapshot) => snapshot.id === id);
      if (found === undefined) {
        throw new Fault('not-found', `snapshot ${id.slice(0, 128)} does not exist on this node`);
      }
      return { snapshot: wire.toWireSnapshot(found, nodeName) };
    },

    async ListSnapshots({
      max_entries: maxEntries,
      starting_token: token,
      snapshot_id: id,
      source_volume_id: source,
    }) {
      const matching = storage.snapshots
        .list()
        .filter(
          (snapshot) =>
            (id === '' || snapshot.id === id) && (source === '' || snapshot.sourceVolumeId === source),
        );
      const { entries, nextToken } = paginate(matching, { maxEntries, token });
      return {
        entries: entries.map((snapshot) => ({ snapshot: wire.toWireSnapshot(snapshot, nodeName) })),
        next_token: nextToken,
      };
    },
  };
}
