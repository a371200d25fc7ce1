import type { Volume } from '../../src/core/volumes/volume.ts';
import type { VolumeUsage } from '../../src/rpc/gen/csi/v1/VolumeUsage.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import { formatBytes } from '../../src/core/kube-text/quantity.ts';
import type { SizeRange } from '../../src/core/volumes/volume-size.ts';
import type { Publish, Stage, VolumeStats } from '../storage/staging/staging.ts';
import type { PublishEphemeral } from '../storage/staging/ephemeral-volumes.ts';
import { Fault, isFault } from '../../src/core/fault.ts';
import { checkForm, parseAccess } from './capabilities.ts';
import { type HealthSource, toWireCondition, toWireHealth, toWireStorageHealth } from './health.ts';
import { isInline, parseInline } from './inline.ts';
import { parseRange, requireField, topologyOf } from './translate.ts';

/** What the Node service needs of the storage service. */
export interface VolumeAttacher {
  /** Throws `not-found`. */
  getVolume(id: string): Volume;
  stage(volumeId: string, path: string, how?: Stage): Promise<void>;
  unstage(volumeId: string, path: string): Promise<void>;
  publish(request: Publish): Promise<void>;
  unpublish(volumeId: string, target: string): Promise<void>;
  publishEphemeral(request: PublishEphemeral): Promise<void>;
  unpublishEphemeral(handle: string, target: string): Promise<void>;
  findEphemeral(handle: string): Volume | undefined;
  /** Grows the volume, also while it is in use; asking for less than it has changes nothing. */
  expandVolume(id: string, range: SizeRange): Promise<Volume>;
  stats(volumeId: string, path: string): Promise<VolumeStats>;
}

const CAPABILITIES = [
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'EXPAND_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
  'GET_VOLUME_HEALTH',
  'GET_STORAGE_HEALTH',
  // The same for a kubelet that speaks a CSI before 1.13.
  'VOLUME_CONDITION',
] as const;

export interface NodeOptions {
  readonly nodeName: string;
  readonly maxVolumesPerNode: number;
  /** Whether callers are told that they can leave groups of files to us: kubelet does its fsGroup itself otherwise. Default: no. */
  readonly volumeMountGroup?: boolean;
}

/** CSI Node: what kubelet calls to show a volume to a pod. */
export function createNode(
  { nodeName, maxVolumesPerNode, volumeMountGroup = false }: NodeOptions,
  { storage }: { readonly storage: VolumeAttacher & HealthSource },
): RpcHandlers<'csi.v1.Node'> {
  const offered = volumeMountGroup ? [...CAPABILITIES, 'VOLUME_MOUNT_GROUP' as const] : CAPABILITIES;
  /** A volume that goes with a pod is called by a handle of the caller's. */
  const idOf = (handle: string): string => storage.findEphemeral(handle)?.id ?? handle;
  return {
    NodeGetInfo: async () => ({
      node_id: nodeName,
      max_volumes_per_node: String(maxVolumesPerNode),
      accessible_topology: topologyOf(nodeName),
    }),

    NodeGetCapabilities: async () => ({ capabilities: offered.map((type) => ({ rpc: { type } })) }),

    async NodeStageVolume(request) {
      const id = requireField(request.volume_id, 'volume_id');
      const path = requireField(request.staging_target_path, 'staging_target_path');
      const access = parseAccess(request.volume_capability);
      checkForm(storage.getVolume(id), access);
      await storage.stage(id, path, { secrets: request.secrets, flags: access.mountFlags });
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
      const { mode, mountFlags, volumeMode, fsType, group } = access;
      if (isInline(request.volume_context)) {
        await storage.publishEphemeral({
          handle: volumeId,
          ...parseInline(request.volume_context),
          secrets: request.secrets,
          volumeMode,
          fsType,
          target,
          readonly: request.readonly,
          flags: mountFlags,
          accessMode: mode,
          group,
        });
        return {};
      }
      checkForm(storage.getVolume(volumeId), access);
      await storage.publish({
        volumeId,
        target,
        stagingPath: request.staging_target_path,
        readonly: request.readonly,
        flags: mountFlags,
        accessMode: mode,
        group,
      });
      return {};
    },

    async NodeUnpublishVolume({ volume_id: id, target_path: target }) {
      requireField(id, 'volume_id');
      requireField(target, 'target_path');
      if (storage.findEphemeral(id) === undefined) await storage.unpublish(id, target);
      else await storage.unpublishEphemeral(id, target);
      return {};
    },

    async NodeExpandVolume({ volume_id: handle, volume_path: path, capacity_range: range }) {
      const id = idOf(requireField(handle, 'volume_id'));
      requireField(path, 'volume_path');
      const { requiredBytes } = parseRange(range);
      const { sizeBytes } = storage.getVolume(id);
      await storage.stats(id, path);
      if (requiredBytes > sizeBytes) {
        throw new Fault(
          'out-of-range',
          `volume ${id} has ${formatBytes(sizeBytes)}, not ${formatBytes(requiredBytes)}; expand it by ControllerExpandVolume first`,
          { fields: { volumeId: id, sizeBytes, requiredBytes } },
        );
      }
      // The controller's half did all of it, unless it was cut off: this finishes what is left.
      await storage.expandVolume(id, { requiredBytes: sizeBytes, limitBytes: 0n });
      return { capacity_bytes: String(sizeBytes) };
    },

    async NodeGetVolumeStats({ volume_id: handle, volume_path: path }) {
      const id = idOf(requireField(handle, 'volume_id'));
      requireField(path, 'volume_path');
      const problems = await storage.checkVolume(id, path);
      return {
        usage: await readUsage(storage.stats(id, path), problems.length > 0),
        volume_condition: toWireCondition(problems, storage.remarkOn(id)),
      };
    },

    async NodeGetVolumeHealth({ volume_id: handle, volume_publish_path: path }) {
      const problems = await storage.checkVolume(idOf(requireField(handle, 'volume_id')), path);
      return { volume_health: toWireHealth(handle, problems) };
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
