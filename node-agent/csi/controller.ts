import type { RequestedForm } from '../../src/core/volumes/backend-features.ts';
import { Fault } from '../../src/core/fault.ts';
import type { Volume } from '../../src/core/volumes/volume.ts';
import { paginate } from '../../src/core/volumes/volume-page.ts';
import { MIN_VOLUME_BYTES } from '../../src/core/volumes/volume-size.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import type { HealthService } from '../storage/health/health-service.ts';
import type { PoolService } from '../storage/services.ts';
import type { VolumeService } from '../storage/volumes/volumes.ts';
import { checkForm, parseForm } from './capabilities.ts';
import {
  createPublishing,
  PUBLISH_CAPABILITIES,
  type PublishingStorage,
  requireUnpublished,
} from './controller-publish.ts';
import { COPY_CAPABILITIES, createSnapshotCalls, type SnapshotStorage } from './controller-snapshots.ts';
import { toWireCondition, toWireHealth } from './health.ts';
import * as wire from './translate.ts';

type Handlers = RpcHandlers<'csi.v1.Controller'>;

/** The storage services that the Controller service uses. */
interface ControllerStorage extends PublishingStorage, SnapshotStorage {
  readonly volumes: VolumeService;
  readonly pools: Pick<PoolService, 'availableBytes' | 'offersCopies'>;
  readonly health: Pick<HealthService, 'checkVolume' | 'listUnhealthy' | 'conditionMessage'>;
}

const CAPABILITIES = [
  'CREATE_DELETE_VOLUME',
  'LIST_VOLUMES',
  'GET_VOLUME',
  'GET_CAPACITY',
  'EXPAND_VOLUME',
  'MODIFY_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
  'GET_VOLUME_HEALTH',
  'LIST_VOLUME_HEALTH',
  // For callers of CSI before 1.13.
  'VOLUME_CONDITION',
] as const;

/** Options of the Controller service. */
export interface ControllerOptions {
  readonly nodeName: string;
  /**
   * Offers ControllerPublishVolume, for orchestrators that need it; absent: volumes need no attach.
   */
  readonly publishing?: { readonly maxVolumesPerNode: number } | undefined;
}

interface ControllerDeps {
  readonly storage: ControllerStorage;
}

/** Creates the CSI Controller service: it translates between CSI and the storage services. */
export function createController(options: ControllerOptions, deps: ControllerDeps): Handlers {
  const { nodeName, publishing } = options;
  const { storage } = deps;
  return {
    ControllerGetCapabilities: async () => ({
      capabilities: [
        ...CAPABILITIES,
        ...(storage.pools.offersCopies() ? COPY_CAPABILITIES : []),
        ...(publishing ? PUBLISH_CAPABILITIES : []),
      ].map((type) => ({ rpc: { type } })),
    }),
    ...createVolumeCalls(options, deps),
    ...createReadCalls(options, deps),
    ...createSnapshotCalls({ nodeName }, deps),
    ...(publishing && createPublishing({ nodeName, ...publishing }, deps)),
  };
}

/** Calls that create, change and delete volumes. */
function createVolumeCalls(
  { nodeName, publishing }: ControllerOptions,
  { storage }: ControllerDeps,
): Handlers {
  return {
    async CreateVolume(request) {
      wire.requireField(request.name, 'name');
      const form = parseForm(request.volume_capabilities);
      const choice = wire.parseParameters(request.parameters);
      const attributes = wire.parseMutable(request.mutable_parameters);
      wire.checkTopology(request.accessibility_requirements, nodeName);
      const volume = await storage.volumes.create({
        name: request.name,
        ...choice,
        ...form,
        attributes,
        range: wire.parseRange(request.capacity_range),
        source: wire.parseSource(request.volume_content_source),
      });
      return { volume: wire.toWireVolume(volume, nodeName) };
    },

    async DeleteVolume({ volume_id: id }) {
      wire.requireField(id, 'volume_id');
      if (publishing !== undefined) requireUnpublished(id, storage.volumes);
      await storage.volumes.delete(id);
      return {};
    },

    async ControllerExpandVolume(request) {
      const id = wire.requireField(request.volume_id, 'volume_id');
      if (request.capacity_range === null) throw new Fault('invalid', 'capacity_range is missing');
      if (request.volume_capability !== null) parseForm([request.volume_capability]);
      const { sizeBytes } = await storage.volumes.expand(id, wire.parseRange(request.capacity_range));
      return { capacity_bytes: String(sizeBytes), node_expansion_required: false };
    },

    async ControllerModifyVolume({ volume_id: id, mutable_parameters: parameters }) {
      wire.requireField(id, 'volume_id');
      // Reports an unknown volume before invalid parameters.
      storage.volumes.get(id);
      await storage.volumes.modify(id, wire.parseMutable(parameters));
      return {};
    },

    async ValidateVolumeCapabilities(request) {
      const volume = storage.volumes.get(wire.requireField(request.volume_id, 'volume_id'));
      if (request.volume_capabilities.length === 0) {
        throw new Fault('invalid', 'volume_capabilities is empty; name at least one');
      }
      try {
        const { volumeMode = 'Filesystem', fsType } = parseForm(request.volume_capabilities);
        checkForm(volume, { volumeMode, fsType });
        wire.parseParameters(request.parameters);
        wire.parseMutable(request.mutable_parameters);
      } catch (error) {
        // CSI: an unconfirmed capability is a valid response, with its reason.
        return { confirmed: null, message: Fault.from(error).message };
      }
      const { volume_context, volume_capabilities, parameters, mutable_parameters } = request;
      return { confirmed: { volume_context, volume_capabilities, parameters, mutable_parameters } };
    },
  };
}

/** Calls that read volumes, their health and the capacity for new ones. */
function createReadCalls({ nodeName, publishing }: ControllerOptions, { storage }: ControllerDeps): Handlers {
  /** A publication recorded while ControllerPublishVolume was offered has no effect without it. */
  const publishedNodes = ({ controllerPublication }: Volume): string[] =>
    publishing === undefined || controllerPublication === undefined ? [] : [nodeName];
  return {
    async ControllerGetVolume({ volume_id: id }) {
      const volume = storage.volumes.get(wire.requireField(id, 'volume_id'));
      const problems = await storage.health.checkVolume(volume.id);
      const condition = toWireCondition(problems, storage.health.conditionMessage(volume.id));
      return {
        volume: wire.toWireVolume(volume, nodeName),
        status: { published_node_ids: publishedNodes(volume), volume_condition: condition },
      };
    },

    async ControllerGetVolumeHealth({ volume_id: id }) {
      const problems = await storage.health.checkVolume(wire.requireField(id, 'volume_id'));
      return { volume_health: toWireHealth(id, problems) };
    },

    async ControllerListVolumeHealth({ max_entries: maxEntries, starting_token: token }) {
      const unhealthy = await storage.health.listUnhealthy();
      const { entries, nextToken } = paginate(unhealthy, { maxEntries, token });
      return {
        entries: entries.map(({ id, problems }) => toWireHealth(id, problems)),
        next_token: nextToken,
      };
    },

    async ListVolumes({ max_entries: maxEntries, starting_token: token }) {
      const { entries, nextToken } = paginate(storage.volumes.list(), { maxEntries, token });
      const unhealthy = new Map(
        (await storage.health.listUnhealthy()).map(({ id, problems }) => [id, problems]),
      );
      return {
        entries: entries.map((volume) => ({
          volume: wire.toWireVolume(volume, nodeName),
          status: {
            published_node_ids: publishedNodes(volume),
            volume_condition: toWireCondition(
              unhealthy.get(volume.id) ?? [],
              storage.health.conditionMessage(volume.id),
            ),
          },
        })),
        next_token: nextToken,
      };
    },

    async GetCapacity({ volume_capabilities: capabilities, parameters, accessible_topology: topology }) {
      const choice = wire.parseParameters(parameters);
      const isHere = topology === null || wire.isHere(topology, nodeName);
      const form = formOf(capabilities);
      const bytes =
        isHere && form !== undefined ? await storage.pools.availableBytes({ ...choice, ...form }) : 0n;
      return {
        available_capacity: String(bytes),
        // The scheduler prefers this value. Both are the largest pool's space: a volume has one
        // pool.
        maximum_volume_size: { value: String(bytes) },
        minimum_volume_size: { value: String(MIN_VOLUME_BYTES) },
      };
    },
  };
}

/** Returns undefined for capabilities that no volume can have; their capacity is 0. */
function formOf(capabilities: Parameters<typeof parseForm>[0]): RequestedForm | undefined {
  if (capabilities.length === 0) return { volumeMode: undefined, fsType: undefined };
  try {
    return parseForm(capabilities);
  } catch {
    return undefined;
  }
}
