import { Fault } from '../fault.ts';
import { type AttributeName, attributeNames, type VolumeAttributes } from './volume-attributes.ts';
import type { ContentForm, Encryption, FsType, VolumeMode } from './volume.ts';
import type { Enforcement } from './volume-quota.ts';
import { MIN_VOLUME_BYTES } from './volume-size.ts';

/** The implementations of volumes; a pool has one. */
export const BACKENDS = ['btrfs', 'image', 'directory'] as const;
/** One of `BACKENDS`. */
export type BackendKind = (typeof BACKENDS)[number];

/** Backends without snapshots and clones on any file system. */
const WITHOUT_COPIES: readonly BackendKind[] = ['directory'];

/**
 * Whether a node with pools of these backends offers snapshots and clones. A node without pools
 * does: callers that read capabilities once, at its start, would miss those of later pools.
 */
export function offersCopies(backends: readonly BackendKind[]): boolean {
  return backends.length === 0 || backends.some((backend) => !WITHOUT_COPIES.includes(backend));
}

/** Features of a backend on its pool, detected when the pool is opened. */
export interface BackendFeatures {
  readonly backend: BackendKind;
  readonly enforcement: Enforcement;
  readonly volumeModes: readonly VolumeMode[];
  /** File systems of Filesystem volumes, the default first. */
  readonly fsTypes: readonly FsType[];
  /** File systems whose volumes can be encrypted at rest; absent for none. */
  readonly encryptedFsTypes?: readonly FsType[];
  /**
   * Time for a snapshot, restore or clone: constant, proportional to the data, or not supported.
   */
  readonly copies: 'constant' | 'proportional' | 'none';
  /** Attributes that volumes of each mode support. */
  readonly attributes: Readonly<Record<VolumeMode, readonly AttributeName[]>>;
}

/** The requested form of a new volume; the pool or the source decides about undefined fields. */
export interface RequestedForm {
  readonly volumeMode: VolumeMode | undefined;
  readonly fsType: FsType | undefined;
  /** Whether the volume is encrypted at rest. */
  readonly encrypted?: boolean | undefined;
}

/** Whether a pool with these features supports the form. */
export function makesForm(features: BackendFeatures, requested: RequestedForm): boolean {
  const { volumeMode = 'Filesystem', fsType, encrypted = false } = requested;
  if (!features.volumeModes.includes(volumeMode)) return false;
  if (!encrypted) return fsType === undefined || features.fsTypes.includes(fsType);
  const possible = features.encryptedFsTypes ?? [];
  return (
    volumeMode === 'Filesystem' && (fsType === undefined ? possible.length > 0 : possible.includes(fsType))
  );
}

/**
 * Throws `invalid` for an attribute that volumes of this mode do not support here, with the
 * alternative.
 */
export function requireAttributes(
  pool: string,
  { backend, attributes: possible }: BackendFeatures,
  volumeMode: VolumeMode,
  attributes: VolumeAttributes,
): void {
  const refused = attributeNames(attributes).filter((name) => !possible[volumeMode].includes(name));
  if (refused.length === 0) return;
  const elsewhere = refused.includes('quotaInodes')
    ? 'quotaInodes needs backend directory'
    : 'I/O limits need backend image or volumeMode Block';
  throw new Fault(
    'invalid',
    `pool ${pool} (${backend}) does not support ${refused.join(', ')} of a ${volumeMode} volume; ${elsewhere}`,
    { fields: { pool, backend } },
  );
}

/** Whether volumes of the requested mode support all attributes. */
export function hasAttributes(
  { attributes: possible }: BackendFeatures,
  { volumeMode = 'Filesystem' }: Pick<RequestedForm, 'volumeMode'>,
  attributes: VolumeAttributes,
): boolean {
  return attributeNames(attributes).every((name) => possible[volumeMode].includes(name));
}

/** Smaller volumes are refused by mkfs, or have no usable space. */
const LEAST_BYTES: Readonly<Record<FsType, bigint>> = {
  ext4: 16n << 20n,
  btrfs: 128n << 20n,
  xfs: 300n << 20n,
};

/** Whether a volume has a file system of its own. */
export function ownsFilesystem(
  { backend }: Pick<BackendFeatures, 'backend'>,
  { volumeMode }: Pick<ContentForm, 'volumeMode'>,
): boolean {
  return backend === 'image' && volumeMode === 'Filesystem';
}

/** Returns the minimum size of a volume of this form; larger for one with its own file system. */
export function leastBytes(
  features: Pick<BackendFeatures, 'backend'>,
  { volumeMode, fsType }: ContentForm,
): bigint {
  if (!ownsFilesystem(features, { volumeMode }) || fsType === undefined) return MIN_VOLUME_BYTES;
  return LEAST_BYTES[fsType];
}

/**
 * Returns the form of a new volume, by default that of its source. Throws `invalid` for a form that
 * the pool or the source does not allow.
 */
export function planForm(
  pool: string,
  features: BackendFeatures,
  requested: Partial<RequestedForm>,
  source: (ContentForm & { readonly encryption?: Encryption | undefined }) | undefined,
): ContentForm {
  const encrypted = requested.encrypted ?? source?.encryption !== undefined;
  const volumeMode = requested.volumeMode ?? source?.volumeMode ?? 'Filesystem';
  const fields = { pool, backend: features.backend };
  const refuse = (message: string): Fault => new Fault('invalid', message, { fields });
  if (!features.volumeModes.includes(volumeMode)) {
    throw refuse(
      `pool ${pool} (${features.backend}) does not support ${volumeMode} volumes; expected ${features.volumeModes.join(', ')}`,
    );
  }
  if (source !== undefined && source.volumeMode !== volumeMode) {
    throw refuse(`the source is a ${source.volumeMode} volume; a copy of it cannot be ${volumeMode}`);
  }
  if (source !== undefined && encrypted !== (source.encryption !== undefined)) {
    throw refuse(
      encrypted
        ? 'the source is not encrypted, and a copy shares its data: it cannot be encrypted; copy it file by file'
        : 'the source is encrypted, and so is its copy: use a StorageClass with encrypted: "true" and the Secret of the source',
    );
  }
  const encryptable = features.encryptedFsTypes ?? [];
  if (encrypted && (volumeMode === 'Block' || encryptable.length === 0)) {
    throw refuse(
      volumeMode === 'Block'
        ? 'a Block volume cannot be encrypted here; use volumeMode Filesystem, or encrypt in the pod'
        : `pool ${pool} (${features.backend}) does not support encrypted volumes; use backend image on a kernel with CONFIG_FS_ENCRYPTION`,
    );
  }
  if (volumeMode === 'Block') {
    if (requested.fsType === undefined) return { volumeMode, fsType: undefined };
    throw refuse(`a Block volume has no file system; omit fsType ${requested.fsType}`);
  }
  const fsType = requested.fsType ?? source?.fsType ?? (encrypted ? encryptable : features.fsTypes)[0];
  if (fsType !== undefined && !features.fsTypes.includes(fsType)) {
    const supported = features.fsTypes.join(', ') || 'no fsType';
    throw refuse(`pool ${pool} (${features.backend}) does not support ${fsType}; expected ${supported}`);
  }
  if (encrypted && fsType !== undefined && !encryptable.includes(fsType)) {
    throw refuse(`a volume with ${fsType} cannot be encrypted; expected ${encryptable.join(', ')}`);
  }
  if (source?.fsType !== undefined && source.fsType !== fsType) {
    throw refuse(`the source has ${source.fsType}; a copy of it cannot have ${fsType ?? 'another'}`);
  }
  return { volumeMode, fsType };
}

/** Throws `unsupported` for a pool without snapshots and clones. */
export function requireCopies(pool: string, { backend, copies }: BackendFeatures): void {
  if (copies !== 'none') return;
  throw new Fault(
    'unsupported',
    `pool ${pool} (${backend}) does not support snapshots and clones; use a pool with backend btrfs or image`,
    { fields: { pool, backend } },
  );
}

/**
 * Returns the feature words of a NodeInventory, sorted; without those of I/O limits if the node has
 * none.
 */
export function featureWords(
  features: BackendFeatures,
  { limitsIo }: { readonly limitsIo: boolean },
): string[] {
  const { volumeModes, copies, enforcement, fsTypes, encryptedFsTypes = [] } = features;
  const { Filesystem: ofFiles, Block: ofDevices } = features.attributes;
  return [
    'expand',
    ...(volumeModes.includes('Block') ? ['block'] : []),
    ...(copies === 'none' ? [] : ['clone', 'snapshot']),
    ...(copies === 'constant' ? ['instant-copies'] : []),
    ...(encryptedFsTypes.length === 0 ? [] : ['encryption']),
    ...(enforcement === 'none' ? [] : ['enforced-size']),
    ...(limitsIo && ofFiles.includes('readIOPS') ? ['io-limits'] : []),
    ...(limitsIo && ofDevices.includes('readIOPS') ? ['block-io-limits'] : []),
    ...(ofFiles.includes('quotaInodes') ? ['inode-limits'] : []),
    ...fsTypes.map((type) => `fs-${type}`),
  ].sort();
}
