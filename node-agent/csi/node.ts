import type { Volume } from '../../src/core/volume.ts';
import type { VolumeUsage } from '../../src/rpc/gen/csi/v1/VolumeUsage.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import type { Publish, VolumeStats } from '../storage/attachments.ts';
import { isFault } from '../../src/core/fault.ts';
import { checkForm, parseAccess } from './capabilities.ts';
import { type HealthSource, toWireCondition, toWireHealth, toWireStorageHealth } from './health.ts';
import { requireField, topologyOf } from './translate.ts';

/** What the Node service needs of the storage service. */
export interface VolumeAttacher {
  /** Throws `not-found`. */
  getVolume(id: string): Volume;
  stage(volumeId: string, path: string): Promise<void>;
  unstage(volumeId: string, path: string): Promise<void>;
  publish(request: Publish): Promise<void>;
  unpublish(volumeId: string, target: string): Promise<void>;
  stats(volumeId: string, path: string): Promise<VolumeStats>;
}

/** Bind mounts are cheap; the kernel's default for mounts in one namespace is 100 000. */
const MAX_VOLUMES = 10_000;

const CAPABILITIES = [
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'SINGLE_NODE_MULTI_WRITER',
  'GET_VOLUME_HEALTH',
  'GET_STORAGE_HEALTH',
  // The same for a kubelet that speaks a CSI before 1.13.
  'VOLUME_CONDITION',
] as const;

/** CSI Node: what kubelet calls to show a volume to a pod. */
export function createNode(
  { nodeName }: { readonly nodeName: string },
  { storage }: { readonly storage: VolumeAttacher & HealthSource },
): RpcHandlers<'csi.v1.Node'> {
  return {
    NodeGetInfo: async () => ({
      node_id: nodeName,
      max_volumes_per_node: String(MAX_VOLUMES),
      accessible_topology: topologyOf(nodeName),
    }),

    NodeGetCapabilities: async () => ({ capabilities: CAPABILITIES.map((type) => ({ rpc: { type } })) }),

    async NodeStageVolume({ volume_id: id, staging_target_path: path, volume_capability: capability }) {
      requireField(id, 'volume_id');
      requireField(path, 'staging_target_path');
      checkForm(storage.getVolume(id), parseAccess(capability));
      await storage.stage(id, path);
      return {};
    },

    async NodeUnstageVolume({ volume_id: id, staging_target_path: path }) {
      await storage.unstage(requireField(id, 'volume_id'), requireField(path, 'staging_target_path'));
      return {};
    },

    async NodePublishVolume(request) {
      const volumeId = requireField(request.volume_id, 'volume_id');
      const target = requireField(request.target_path, 'target_path');
      const access = parseAccess(request.volume_capability);
      checkForm(storage.getVolume(volumeId), access);
      const { mode, mountFlags } = access;
      await storage.publish({
        volumeId,
        target,
        stagingPath: request.staging_target_path,
        readonly: request.readonly,
        flags: mountFlags,
        accessMode: mode,
      });
      return {};
    },

    async NodeUnpublishVolume({ volume_id: id, target_path: target }) {
      await storage.unpublish(requireField(id, 'volume_id'), requireField(target, 'target_path'));
      return {};
    },

    async NodeGetVolumeStats({ volume_id: id, volume_path: path }) {
      requireField(id, 'volume_id');
      requireField(path, 'volume_path');
      const problems = await storage.checkVolume(id, path);
      return {
        usage: await readUsage(storage.stats(id, path), problems.length > 0),
        volume_condition: toWireCondition(problems),
      };
    },

    async NodeGetVolumeHealth({ volume_id: id, volume_publish_path: path }) {
      const problems = await storage.checkVolume(requireField(id, 'volume_id'), path);
      return { volume_health: toWireHealth(id, problems) };
    },

    async NodeGetStorageHealth() {
      return { backend_health: toWireStorageHealth(await storage.checkPools()) };
    },
  };
}

/** Nothing can be measured of a volume whose pool is away: its condition says why, and that is the answer. */
async function readUsage(stats: Promise<VolumeStats>, isSick: boolean): Promise<VolumeUsage[]> {
  try {
    return toWireUsage(await stats);
  } catch (error) {
    if (isSick && !isFault(error, 'not-found')) return [];
    throw error;
  }
}

function toWireUsage({ totalBytes, usedBytes, availableBytes, inodes }: VolumeStats): VolumeUsage[] {
  return [
    {
      unit: 'BYTES',
      total: String(totalBytes),
      used: String(usedBytes),
      available: String(availableBytes),
    },
    // Where inodes are made as needed (btrfs), there is no number of them.
    ...(inodes === undefined
      ? []
      : [
          {
            unit: 'INODES' as const,
            total: String(inodes.total),
            used: String(inodes.used),
            available: String(inodes.available),
          },
        ]),
  ];
}
