import type { VolumeUsage } from '../../src/rpc/gen/csi/v1/VolumeUsage.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import { formatBytes } from '../../src/core/kube-text/quantity.ts';
import type { HealthService } from '../storage/health/health-service.ts';
import type { EphemeralVolumeService } from '../storage/staging/ephemeral-volumes.ts';
import type { StagingService, VolumeStats } from '../storage/staging/staging.ts';
import type { VolumeService } from '../storage/volumes/volumes.ts';
import { Fault, isFault } from '../../src/core/fault.ts';
import { checkForm, parseAccess } from './capabilities.ts';
import { toWireCondition, toWireHealth, toWireStorageHealth } from './health.ts';
import { isInline, parseInline } from './inline.ts';
import { parseRange, requireField, topologyOf } from './translate.ts';

type Handlers = RpcHandlers<'csi.v1.Node'>;

/** The storage services that the Node service uses. */
interface NodeStorage {
  readonly volumes: Pick<VolumeService, 'get' | 'expand'>;
  readonly staging: Pick<StagingService, 'stage' | 'unstage' | 'publish' | 'unpublish' | 'stats'>;
  readonly ephemerals: Pick<EphemeralVolumeService, 'publish' | 'unpublish' | 'find'>;
  readonly health: Pick<HealthService, 'checkVolume' | 'checkPools' | 'conditionMessage'>;
}

const CAPABILITIES = [
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'EXPAND_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
  'GET_VOLUME_HEALTH',
  'GET_STORAGE_HEALTH',
  // For kubelets of CSI before 1.13.
  'VOLUME_CONDITION',
] as const;

/** Dependencies of the Node service. */
export interface NodeDeps {
  readonly storage: NodeStorage;
}

/** Options of the Node service. */
export interface NodeOptions {
  readonly nodeName: string;
  readonly maxVolumesPerNode: number;
  /** Offers VOLUME_MOUNT_GROUP: without it kubelet applies fsGroup itself. Default: false. */
  readonly volumeMountGroup?: boolean;
}

/** Creates the CSI Node service, which kubelet calls to mount volumes for pods. */
export function createNode(options: NodeOptions, deps: NodeDeps): Handlers {
  const { nodeName, maxVolumesPerNode, volumeMountGroup = false } = options;
  const capabilities = volumeMountGroup ? [...CAPABILITIES, 'VOLUME_MOUNT_GROUP' as const] : CAPABILITIES;
  return {
    NodeGetInfo: async () => ({
      node_id: nodeName,
      max_volumes_per_node: String(maxVolumesPerNode),
      accessible_topology: topologyOf(nodeName),
    }),
    NodeGetCapabilities: async () => ({ capabilities: capabilities.map((type) => ({ rpc: { type } })) }),
    ...createStagingCalls(deps),
    ...createPublishCalls(deps),
    ...createVolumeCalls(deps),
  };
}

function createStagingCalls({ storage }: NodeDeps): Handlers {
  return {
    async NodeStageVolume(request) {
      const id = requireField(request.volume_id, 'volume_id');
      const path = requireField(request.staging_target_path, 'staging_target_path');
      const access = parseAccess(request.volume_capability);
      checkForm(storage.volumes.get(id), access);
      await storage.staging.stage(id, path, { secrets: request.secrets, flags: access.mountFlags });
      return {};
    },

    async NodeUnstageVolume({ volume_id: id, staging_target_path: path }) {
      await storage.staging.unstage(requireField(id, 'volume_id'), requireField(path, 'staging_target_path'));
      return {};
    },
  };
}

function createPublishCalls({ storage }: NodeDeps): Handlers {
  return {
    async NodePublishVolume(request) {
      const volumeId = requireField(request.volume_id, 'volume_id');
      const target = requireField(request.target_path, 'target_path');
      const access = parseAccess(request.volume_capability);
      const { volumeMode, fsType } = access;
      const publication = {
        target,
        readonly: request.readonly,
        flags: access.mountFlags,
        accessMode: access.mode,
        group: access.group,
      };
      if (isInline(request.volume_context)) {
        const inline = parseInline(request.volume_context);
        const { secrets } = request;
        const form = { volumeMode, fsType };
        await storage.ephemerals.publish({ handle: volumeId, ...inline, secrets, ...form, ...publication });
        return {};
      }
      checkForm(storage.volumes.get(volumeId), access);
      const stagingPath = request.staging_target_path;
      await storage.staging.publish({ volumeId, stagingPath, ...publication });
      return {};
    },

    async NodeUnpublishVolume({ volume_id: id, target_path: target }) {
      requireField(id, 'volume_id');
      requireField(target, 'target_path');
      if (storage.ephemerals.find(id) === undefined) await storage.staging.unpublish(id, target);
      else await storage.ephemerals.unpublish(id, target);
      return {};
    },
  };
}

/** Calls that expand, measure and check volumes. */
function createVolumeCalls({ storage }: NodeDeps): Handlers {
  /** An ephemeral volume's handle is not its id. */
  const idOf = (handle: string): string => storage.ephemerals.find(handle)?.id ?? handle;
  return {
    async NodeExpandVolume({ volume_id: handle, volume_path: path, capacity_range: range }) {
      const id = idOf(requireField(handle, 'volume_id'));
      requireField(path, 'volume_path');
      const { requiredBytes } = parseRange(range);
      const { sizeBytes } = storage.volumes.get(id);
      await storage.staging.stats(id, path);
      if (requiredBytes > sizeBytes) {
        throw new Fault(
          'out-of-range',
          `volume ${id} has ${formatBytes(sizeBytes)}, not ${formatBytes(requiredBytes)}; call ControllerExpandVolume first`,
          { fields: { volumeId: id, sizeBytes, requiredBytes } },
        );
      }
      // ControllerExpandVolume did all of it, unless it was interrupted: this completes it.
      await storage.volumes.expand(id, { requiredBytes: sizeBytes, limitBytes: 0n });
      return { capacity_bytes: String(sizeBytes) };
    },

    async NodeGetVolumeStats({ volume_id: handle, volume_path: path }) {
      const id = idOf(requireField(handle, 'volume_id'));
      requireField(path, 'volume_path');
      const problems = await storage.health.checkVolume(id, path);
      return {
        usage: await readUsage(storage.staging.stats(id, path), problems.length > 0),
        volume_condition: toWireCondition(problems, storage.health.conditionMessage(id)),
      };
    },

    async NodeGetVolumeHealth({ volume_id: handle, volume_publish_path: path }) {
      const problems = await storage.health.checkVolume(idOf(requireField(handle, 'volume_id')), path);
      return { volume_health: toWireHealth(handle, problems) };
    },

    async NodeGetStorageHealth() {
      return { backend_health: toWireStorageHealth(await storage.health.checkPools()) };
    },
  };
}

/** Returns no usage for an unhealthy volume that cannot be measured; its condition says why. */
async function readUsage(stats: Promise<VolumeStats>, isUnhealthy: boolean): Promise<VolumeUsage[]> {
  try {
    return toWireUsage(await stats);
  } catch (error) {
    if (isUnhealthy && !isFault(error, 'not-found')) return [];
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
    // Absent where the file system allocates inodes on demand (btrfs).
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
