import { Fault } from '../../src/core/fault.ts';
import {
  parsePoolParameters,
  POOL_PARAMETERS,
  type PoolParameters,
} from '../../src/core/pools/pool-parameters.ts';
import type { ContentSource, Snapshot, Volume } from '../../src/core/volumes/volume.ts';
import { parseAttributes, type VolumeAttributes } from '../../src/core/volumes/volume-attributes.ts';
import { ANY_SIZE, type SizeRange } from '../../src/core/volumes/volume-size.ts';
import type { CapacityRange__Output } from '../../src/rpc/gen/csi/v1/CapacityRange.ts';
import type { Snapshot as WireSnapshot } from '../../src/rpc/gen/csi/v1/Snapshot.ts';
import type { Topology } from '../../src/rpc/gen/csi/v1/Topology.ts';
import type { TopologyRequirement__Output } from '../../src/rpc/gen/csi/v1/TopologyRequirement.ts';
import type { Volume as WireVolume } from '../../src/rpc/gen/csi/v1/Volume.ts';
import type { VolumeContentSource__Output } from '../../src/rpc/gen/csi/v1/VolumeContentSource.ts';
import { TOPOLOGY_KEY } from '../../src/core/volumes/driver.ts';

/** Prefix of keys that external-provisioner adds; they do not affect the volume. */
const RESERVED_PREFIX = 'csi.storage.k8s.io/';

/**
 * Parses a StorageClass's parameters. `known` lists the accepted keys; throws `invalid` for any
 * other key, so that a misspelt one is reported.
 */
export function parseParameters(
  parameters: Readonly<Record<string, string>>,
  field = 'parameters',
  known: readonly string[] = POOL_PARAMETERS,
): PoolParameters {
  for (const key of Object.keys(parameters)) {
    if (known.includes(key) || key.startsWith(RESERVED_PREFIX)) continue;
    throw new Fault('invalid', `${field}: ${JSON.stringify(key)} is unknown; expected ${known.join(', ')}`);
  }
  return parsePoolParameters(parameters, field);
}

/**
 * Parses a VolumeAttributesClass's parameters. Throws `invalid` for unknown keys and bad values.
 */
export function parseMutable(parameters: Readonly<Record<string, string>>): VolumeAttributes {
  return parseAttributes(parameters, 'mutable_parameters', RESERVED_PREFIX);
}

/** Throws `invalid` for any key. */
export function refuseParameters(parameters: Readonly<Record<string, string>>, field: string): void {
  for (const key of Object.keys(parameters)) {
    if (key.startsWith(RESERVED_PREFIX)) continue;
    throw new Fault('invalid', `${field}: ${JSON.stringify(key)} is unknown; no parameters are supported`);
  }
}

/** Parses a CSI CapacityRange; null is any size. */
export function parseRange(range: CapacityRange__Output | null): SizeRange {
  if (range === null) return ANY_SIZE;
  return { requiredBytes: BigInt(range.required_bytes), limitBytes: BigInt(range.limit_bytes) };
}

/** Parses a CSI VolumeContentSource. Throws `invalid` for one without a source. */
export function parseSource(source: VolumeContentSource__Output | null): ContentSource | undefined {
  if (source === null) return undefined;
  if (source.snapshot) return { kind: 'snapshot', id: source.snapshot.snapshot_id };
  if (source.volume) return { kind: 'volume', id: source.volume.volume_id };
  throw new Fault('invalid', 'volume_content_source: neither snapshot nor volume is set');
}

/** Throws `exhausted` (as CSI requires) if the requirement excludes this node. */
export function checkTopology(
  requirement: TopologyRequirement__Output | null,
  nodeName: string,
  what: 'volume' | 'snapshot' = 'volume',
): void {
  const places = requirement?.requisite ?? [];
  if (places.length === 0 || places.some((place) => isHere(place, nodeName))) return;
  throw new Fault('exhausted', `the topology requirement of the ${what} excludes node ${nodeName}`, {
    fields: { nodeName },
  });
}

/** Whether this node lies in `place`; topology keys of other drivers are ignored. */
export function isHere(place: Topology, nodeName: string): boolean {
  const segment = place.segments?.[TOPOLOGY_KEY];
  return segment === undefined || segment === nodeName;
}

/** Returns the CSI topology of a node. */
export function topologyOf(nodeName: string): Topology {
  return { segments: { [TOPOLOGY_KEY]: nodeName } };
}

/** Encodes a volume as CSI Volume. */
export function toWireVolume({ id, sizeBytes, source, pool }: Volume, nodeName: string): WireVolume {
  return {
    volume_id: id,
    capacity_bytes: String(sizeBytes),
    volume_context: { pool },
    accessible_topology: [topologyOf(nodeName)],
    content_source:
      source === undefined
        ? null
        : source.kind === 'snapshot'
          ? { snapshot: { snapshot_id: source.id } }
          : { volume: { volume_id: source.id } },
  };
}

/** Encodes a snapshot as CSI Snapshot. */
export function toWireSnapshot(
  { id, sourceVolumeId, sizeBytes, createdAtMs, group }: Snapshot,
  nodeName: string,
): WireSnapshot {
  return {
    snapshot_id: id,
    source_volume_id: sourceVolumeId,
    size_bytes: String(sizeBytes),
    creation_time: toTimestamp(createdAtMs),
    ready_to_use: true,
    group_snapshot_id: group?.id ?? '',
    // A snapshot can be restored only in the pool of its source.
    accessible_topology: [topologyOf(nodeName)],
  };
}

/** Encodes milliseconds since the epoch as a protobuf Timestamp. */
export function toTimestamp(ms: number): { readonly seconds: string; readonly nanos: number } {
  return { seconds: String(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 };
}

/** Throws `invalid` when a required field is empty. */
export function requireField(value: string, field: string): string {
  if (value === '') throw new Fault('invalid', `${field} is missing`);
  return value;
}
