import type { WantedForm } from '../../src/core/volumes/backend-features.ts';
import { Fault } from '../../src/core/fault.ts';
import type { Snapshot, Volume } from '../../src/core/volumes/volume.ts';
import { paginate } from '../../src/core/volumes/volume-page.ts';
import type { VolumeAttributes } from '../../src/core/volumes/volume-attributes.ts';
import { MIN_VOLUME_BYTES, type SizeRange } from '../../src/core/volumes/volume-size.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import type { CreateVolume, PoolChoice } from '../storage/volumes/volumes.ts';
import { checkForm, parseForm } from './capabilities.ts';
import {
  type ControllerPublisher,
  createPublishing,
  PUBLISH_CAPABILITIES,
  requireUnpublished,
} from './controller-publish.ts';
import { type HealthSource, toWireCondition, toWireHealth } from './health.ts';
import * as wire from './translate.ts';

/** What the Controller service needs of the storage service. */
export interface VolumeProvider {
  createVolume(request: CreateVolume): Promise<Volume>;
  deleteVolume(id: string): Promise<void>;
  expandVolume(id: string, range: SizeRange): Promise<Volume>;
  /** Sets all attributes of the volume anew. */
  modifyVolume(id: string, attributes: VolumeAttributes): Promise<Volume>;
  /** Throws `not-found`. */
  getVolume(id: string): Volume;
  listVolumes(): readonly Volume[];
  availableBytes(from: PoolChoice): Promise<bigint>;
}

export interface SnapshotProvider {
  createSnapshot(name: string, volumeId: string): Promise<Snapshot>;
  deleteSnapshot(id: string): Promise<void>;
  listSnapshots(): readonly Snapshot[];
  /** Whether snapshots and clones can be asked for now. */
  offersCopies(): boolean;
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
  // The same for those who speak a CSI before 1.13.
  'VOLUME_CONDITION',
] as const;

const COPY_CAPABILITIES = [
  'CREATE_DELETE_SNAPSHOT',
  'LIST_SNAPSHOTS',
  'GET_SNAPSHOT',
  'CLONE_VOLUME',
] as const;

export interface ControllerOptions {
  readonly nodeName: string;
  /** Offers ControllerPublishVolume, for orchestrators that want to be asked; absent: volumes need no attaching. */
  readonly publishing?: { readonly maxVolumesPerNode: number } | undefined;
}

/** CSI Controller: translates between the wire and the storage service, and decides nothing. */
export function createController(
  { nodeName, publishing }: ControllerOptions,
  { storage }: { readonly storage: VolumeProvider & SnapshotProvider & HealthSource & ControllerPublisher },
): RpcHandlers<'csi.v1.Controller'> {
  /** What is on record from a time when it was asked for keeps nobody from anything. */
  const publishedNodes = ({ controllerPublication }: Volume): string[] =>
    publishing === undefined || controllerPublication === undefined ? [] : [nodeName];
  return {
    ...(publishing && createPublishing({ nodeName, ...publishing }, { storage })),

    ControllerGetCapabilities: async () => ({
      capabilities: [
        ...CAPABILITIES,
        ...(storage.offersCopies() ? COPY_CAPABILITIES : []),
        ...(publishing ? PUBLISH_CAPABILITIES : []),
      ].map((type) => ({ rpc: { type } })),
    }),

    async CreateVolume(request) {
      wire.requireField(request.name, 'name');
      const form = parseForm(request.volume_capabilities);
      const choice = wire.parseParameters(request.parameters);
      const attributes = wire.parseMutable(request.mutable_parameters);
      wire.checkTopology(request.accessibility_requirements, nodeName);
      const volume = await storage.createVolume({
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
      if (publishing !== undefined) requireUnpublished(id, storage);
      await storage.deleteVolume(id);
      return {};
    },

    async ControllerGetVolume({ volume_id: id }) {
      const volume = storage.getVolume(wire.requireField(id, 'volume_id'));
      const condition = toWireCondition(await storage.checkVolume(volume.id), storage.remarkOn(volume.id));
      return {
        volume: wire.toWireVolume(volume, nodeName),
        status: { published_node_ids: publishedNodes(volume), volume_condition: condition },
      };
    },

    async ControllerGetVolumeHealth({ volume_id: id }) {
      const problems = await storage.checkVolume(wire.requireField(id, 'volume_id'));
      return { volume_health: toWireHealth(id, problems) };
    },

    async ControllerListVolumeHealth({ max_entries: maxEntries, starting_token: token }) {
      const { entries, nextToken } = paginate(await storage.listSickVolumes(), { maxEntries, token });
      return {
        entries: entries.map(({ id, problems }) => toWireHealth(id, problems)),
        next_token: nextToken,
      };
    },

    async ValidateVolumeCapabilities(request) {
      const volume = storage.getVolume(wire.requireField(request.volume_id, 'volume_id'));
      if (request.volume_capabilities.length === 0) {
        throw new Fault('invalid', 'volume_capabilities is empty; name at least one');
      }
      try {
        const { volumeMode = 'Filesystem', fsType } = parseForm(request.volume_capabilities);
        checkForm(volume, { volumeMode, fsType });
        wire.parseParameters(request.parameters);
        wire.parseMutable(request.mutable_parameters);
      } catch (error) {
        // Not confirmed is an answer, with its reason, and no failure.
        return { confirmed: null, message: Fault.from(error).message };
      }
      const { volume_context, volume_capabilities, parameters, mutable_parameters } = request;
      return { confirmed: { volume_context, volume_capabilities, parameters, mutable_parameters } };
    },

    async ListVolumes({ max_entries: maxEntries, starting_token: token }) {
      const { entries, nextToken } = paginate(storage.listVolumes(), { maxEntries, token });
      const sick = new Map((await storage.listSickVolumes()).map(({ id, problems }) => [id, problems]));
      return {
        entries: entries.map((volume) => ({
          volume: wire.toWireVolume(volume, nodeName),
          status: {
            published_node_ids: publishedNodes(volume),
            volume_condition: toWireCondition(sick.get(volume.id) ?? [], storage.remarkOn(volume.id)),
          },
        })),
        next_token: nextToken,
      };
    },

    async GetCapacity({ volume_capabilities: capabilities, parameters, accessible_topology: topology }) {
      const choice = wire.parseParameters(parameters);
      const here = topology === null || wire.isHere(topology, nodeName);
      const form = formOf(capabilities);
      const bytes = here && form !== undefined ? await storage.availableBytes({ ...choice, ...form }) : 0n;
      return {
        available_capacity: String(bytes),
        // The scheduler believes this one rather than the other, so they must agree (a volume lies in one pool).
        maximum_volume_size: { value: String(bytes) },
        minimum_volume_size: { value: String(MIN_VOLUME_BYTES) },
      };
    },

    async ControllerExpandVolume(request) {
      const id = wire.requireField(request.volume_id, 'volume_id');
      if (request.capacity_range === null) throw new Fault('invalid', 'capacity_range is missing');
      if (request.volume_capability !== null) parseForm([request.volume_capability]);
      const { sizeBytes } = await storage.expandVolume(id, wire.parseRange(request.capacity_range));
      return { capacity_bytes: String(sizeBytes), node_expansion_required: false };
    },

    async ControllerModifyVolume({ volume_id: id, mutable_parameters: parameters }) {
      wire.requireField(id, 'volume_id');
      // An unknown volume is told of before parameters that would be wrong for any.
      storage.getVolume(id);
      await storage.modifyVolume(id, wire.parseMutable(parameters));
      return {};
    },

    async CreateSnapshot(request) {
      const name = wire.requireField(request.name, 'name');
      const source = wire.requireField(request.source_volume_id, 'source_volume_id');
      wire.refuseParameters(request.parameters, 'parameters');
      wire.checkTopology(request.accessibility_requirements, nodeName, 'snapshot');
      return { snapshot: wire.toWireSnapshot(await storage.createSnapshot(name, source), nodeName) };
    },

    async DeleteSnapshot({ snapshot_id: id }) {
      await storage.deleteSnapshot(wire.requireField(id, 'snapshot_id'));
      return {};
    },

    async GetSnapshot({ snapshot_id: id }) {
      wire.requireField(id, 'snapshot_id');
      const found = storage.listSnapshots().find((snapshot) => snapshot.id === id);
      if (found === undefined)
        throw new Fault('not-found', `snapshot ${id.slice(0, 128)} does not exist on this node`);
      return { snapshot: wire.toWireSnapshot(found, nodeName) };
    },

    async ListSnapshots({
      max_entries: maxEntries,
      starting_token: token,
      snapshot_id: id,
      source_volume_id: source,
    }) {
      const matching = storage
        .listSnapshots()
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

/** Undefined for what no volume here can be: of that there is no room. */
function formOf(capabilities: Parameters<typeof parseForm>[0]): WantedForm | undefined {
  if (capabilities.length === 0) return { volumeMode: undefined, fsType: undefined };
  try {
    return parseForm(capabilities);
  } catch {
    return undefined;
  }
}
