import { Fault } from '../../src/core/fault.ts';
import type { SnapshotGroup } from '../../src/core/snapshots/snapshot-group.ts';
import type { VolumeGroupSnapshot } from '../../src/rpc/gen/csi/v1/VolumeGroupSnapshot.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import type { PoolService } from '../storage/services.ts';
import type { SnapshotGroupService } from '../storage/snapshots/snapshot-groups.ts';
import * as wire from './translate.ts';

/** The storage services that the GroupController service uses. */
interface GroupStorage {
  readonly groups: Pick<SnapshotGroupService, 'create' | 'delete' | 'get'>;
  readonly pools: Pick<PoolService, 'offersCopies'>;
}

/** Creates the CSI GroupController service: snapshots of several volumes at one instant. */
export function createGroupController(
  { nodeName }: { readonly nodeName: string },
  { storage }: { readonly storage: GroupStorage },
): RpcHandlers<'csi.v1.GroupController'> {
  return {
    GroupControllerGetCapabilities: async () => ({
      capabilities: storage.pools.offersCopies()
        ? [{ rpc: { type: 'CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT' } }]
        : [],
    }),

    async CreateVolumeGroupSnapshot({ name, source_volume_ids: volumeIds, parameters }) {
      wire.requireField(name, 'name');
      wire.refuseParameters(parameters, 'parameters');
      if (volumeIds.includes('')) throw new Fault('invalid', 'source_volume_ids contains an empty id');
      return { group_snapshot: toWireGroup(await storage.groups.create(name, volumeIds), nodeName) };
    },

    async DeleteVolumeGroupSnapshot({ group_snapshot_id: id, snapshot_ids: snapshotIds }) {
      await storage.groups.delete(wire.requireField(id, 'group_snapshot_id'), snapshotIds);
      return {};
    },

    async GetVolumeGroupSnapshot({ group_snapshot_id: id, snapshot_ids: snapshotIds }) {
      const group = storage.groups.get(wire.requireField(id, 'group_snapshot_id'), snapshotIds);
      return { group_snapshot: toWireGroup(group, nodeName) };
    },
  };
}

function toWireGroup({ id, createdAtMs, members }: SnapshotGroup, nodeName: string): VolumeGroupSnapshot {
  return {
    group_snapshot_id: id,
    snapshots: members.map((member) => wire.toWireSnapshot(member, nodeName)),
    creation_time: wire.toTimestamp(createdAtMs),
    ready_to_use: true,
  };
}
