import { Fault } from '../fault.ts';
import { type PoolSelector, refuseLabels } from './pool-selector.ts';
import type { BackendKind, RequestedForm } from './backend-features.ts';
import { attributeNames, sameAttributes, type VolumeAttributes } from './volume-attributes.ts';
import { fitsRange, type SizeRange } from './volume-size.ts';
import type { ContentSource, Volume } from './volume.ts';

/** Which pools are eligible for a volume; all pools when every field is undefined. */
export interface PoolChoice extends Partial<RequestedForm> {
  readonly pool: string | undefined;
  readonly poolSelector?: PoolSelector | undefined;
  readonly backend?: BackendKind | undefined;
  /** Attributes that the pool must support; absent ones are not limited. */
  readonly attributes?: VolumeAttributes | undefined;
}

/**
 * A request for a new volume. Without a pool it is created in the pool of its source, or else in
 * the eligible pool with the most available space.
 */
export interface VolumeRequest extends PoolChoice {
  readonly name: string;
  readonly range: SizeRange;
  readonly source: ContentSource | undefined;
  /** True for an ephemeral volume, which is deleted with its pod. */
  readonly ephemeral?: true;
}

/** Identifies a volume by its id, or by the name that its caller requested. */
export type VolumeIdentifier = { readonly id: string } | { readonly name: string };

/** Returns why a pool is not eligible by its backend and labels; undefined when it is. */
export function refusePool(
  pool: { readonly backend: BackendKind; readonly labels: Readonly<Record<string, string>> },
  { backend, poolSelector }: PoolChoice,
): string | undefined {
  if (backend !== undefined && backend !== pool.backend) {
    return `has backend ${pool.backend}; requested is ${backend}`;
  }
  return poolSelector && refuseLabels(poolSelector, pool.labels);
}

/** Describes the requested pool, form and attributes, for a message; empty when all are open. */
export function describeChoice(choice: PoolChoice): string {
  const { volumeMode, fsType, encrypted, backend, poolSelector, attributes = {} } = choice;
  const encryption = encrypted === true ? 'encryption' : undefined;
  const labels = poolSelector && `poolSelector ${poolSelector.text}`;
  return [labels, encryption, backend, volumeMode, fsType, ...attributeNames(attributes)]
    .filter((word) => word !== undefined)
    .join(', ');
}

/**
 * Returns `existing` if a repeated request means that volume; throws `conflict` otherwise. The pool
 * selector is not compared: a pool's labels may have changed since the volume was created.
 */
export function requireSameVolume(existing: Volume, request: VolumeRequest): Volume {
  const { name, pool, range, source, volumeMode, fsType, encrypted, attributes = {} } = request;
  const isSame =
    fitsRange(existing.sizeBytes, range) &&
    (pool === undefined || pool === existing.pool) &&
    (volumeMode === undefined || volumeMode === existing.volumeMode) &&
    (fsType === undefined || fsType === existing.fsType) &&
    (encrypted === undefined || encrypted === (existing.encryption !== undefined)) &&
    existing.ephemeral === request.ephemeral &&
    sameAttributes(existing.attributes ?? {}, attributes) &&
    existing.source?.kind === source?.kind &&
    existing.source?.id === source?.id;
  if (isSame) return existing;
  throw new Fault('conflict', `volume ${name} exists with other properties: ${describeVolume(existing)}`, {
    fields: { volumeId: existing.id },
  });
}

function describeVolume(volume: Volume): string {
  const { volumeMode, fsType, sizeBytes, encryption, pool, source } = volume;
  const form = `${volumeMode}, ${fsType ?? 'no file system'}${encryption === undefined ? '' : ', encrypted'}`;
  return `${form}, ${sizeBytes} bytes, pool ${pool}, source ${source?.id ?? 'none'}`;
}
