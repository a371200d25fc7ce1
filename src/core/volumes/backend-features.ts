import { Fault } from '../fault.ts';
import { type AttributeName, attributeNames, type VolumeAttributes } from './volume-attributes.ts';
import type { ContentForm, Encryption, FsType, VolumeMode } from './volume.ts';
import type { Enforcement } from './volume-quota.ts';
import { MIN_VOLUME_BYTES } from './volume-size.ts';

/** The ways in which a pool makes volumes. */
export const BACKENDS = ['btrfs', 'image', 'directory'] as const;
export type BackendKind = (typeof BACKENDS)[number];

/** Backends that never copy a volume, whatever file system their pool is on. */
const WITHOUT_COPIES: readonly BackendKind[] = ['directory'];

/**
 * Whether a node with pools of these backends says that it makes snapshots and clones. One without
 * pools does: who asks once, at its start, would never hear of those of a pool that comes.
 */
export function offersCopies(backends: readonly BackendKind[]): boolean {
  return backends.length === 0 || backends.some((backend) => !WITHOUT_COPIES.includes(backend));
}

/** What a backend can do on its pool, as it was found out when the pool was opened. */
export interface BackendFeatures {
  readonly backend: BackendKind;
  readonly enforcement: Enforcement;
  readonly volumeModes: readonly VolumeMode[];
  /** File systems that a Filesystem volume can have; the first is the one for who names none. */
  readonly fsTypes: readonly FsType[];
  /** File systems whose volumes can be encrypted at rest; absent for none. */
  readonly encryptedFsTypes?: readonly FsType[];
  /**
   * How long a snapshot, a restore or a clone takes: the same for any volume, in proportion to its
   * data, or impossible.
   */
  readonly copies: 'constant' | 'proportional' | 'none';
  /** What can be set of a volume of each mode. */
  readonly attributes: Readonly<Record<VolumeMode, readonly AttributeName[]>>;
}

/** What a caller wants of a new volume; undefined leaves it to the pool, or to the source. */
export interface WantedForm {
  readonly volumeMode: VolumeMode | undefined;
  readonly fsType: FsType | undefined;
  /** Whether it is encrypted at rest. */
  readonly encrypted?: boolean | undefined;
}

/** Whether a pool with these features can make such a volume. */
export function makesForm(features: BackendFeatures, wanted: WantedForm): boolean {
  const { volumeMode = 'Filesystem', fsType, encrypted = false } = wanted;
  if (!features.volumeModes.includes(volumeMode)) return false;
  if (!encrypted) return fsType === undefined || features.fsTypes.includes(fsType);
  const possible = features.encryptedFsTypes ?? [];
  return (
    volumeMode === 'Filesystem' && (fsType === undefined ? possible.length > 0 : possible.includes(fsType))
  );
}

/**
 * Throws `invalid` for an attribute that volumes of this mode cannot have here, and says where they
 * can.
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
    ? 'the number of inodes can be limited by backend directory alone'
    : 'the I/O of volumes that have a device of their own can be limited: all of backend image, and those of volumeMode Block';
  throw new Fault(
    'invalid',
    `pool ${pool} (${backend}) cannot set ${refused.join(', ')} of a ${volumeMode} volume; ${elsewhere}`,
    { fields: { pool, backend } },
  );
}

/** Whether volumes of the wanted mode can have all of these. */
export function hasAttributes(
  { attributes: possible }: BackendFeatures,
  { volumeMode = 'Filesystem' }: Pick<WantedForm, 'volumeMode'>,
  attributes: VolumeAttributes,
): boolean {
  return attributeNames(attributes).every((name) => possible[volumeMode].includes(name));
}

/** Below this, mkfs refuses, or leaves no room for files. */
const LEAST_BYTES: Readonly<Record<FsType, bigint>> = {
  ext4: 16n << 20n,
  btrfs: 128n << 20n,
  xfs: 300n << 20n,
};

/** Whether a volume has a file system that no other one has. */
export function ownsFilesystem(
  { backend }: Pick<BackendFeatures, 'backend'>,
  { volumeMode }: Pick<ContentForm, 'volumeMode'>,
): boolean {
  return backend === 'image' && volumeMode === 'Filesystem';
}

/**
 * The smallest volume of this form: one in a file has a file system of its own, which needs some
 * room.
 */
export function leastBytes(
  features: Pick<BackendFeatures, 'backend'>,
  { volumeMode, fsType }: ContentForm,
): bigint {
  if (!ownsFilesystem(features, { volumeMode }) || fsType === undefined) return MIN_VOLUME_BYTES;
  return LEAST_BYTES[fsType];
}

/**
 * The form of a new volume, which is its source's when it has one. Throws `invalid` for what the
 * pool or the source does not allow.
 */
export function planForm(
  pool: string,
  features: BackendFeatures,
  wanted: Partial<WantedForm>,
  source: (ContentForm & { readonly encryption?: Encryption | undefined }) | undefined,
): ContentForm {
  const encrypted = wanted.encrypted ?? source?.encryption !== undefined;
  const volumeMode = wanted.volumeMode ?? source?.volumeMode ?? 'Filesystem';
  const fields = { pool, backend: features.backend };
  const refuse = (message: string): Fault => new Fault('invalid', message, { fields });
  if (!features.volumeModes.includes(volumeMode)) {
    throw refuse(
      `pool ${pool} (${features.backend}) makes no ${volumeMode} volumes; it makes ${features.volumeModes.join(', ')}`,
    );
  }
  if (source !== undefined && source.volumeMode !== volumeMode) {
    throw refuse(`the source is a ${source.volumeMode} volume; a copy of it cannot be ${volumeMode}`);
  }
  if (source !== undefined && encrypted !== (source.encryption !== undefined)) {
    throw refuse(
      encrypted
        ? 'the source is not encrypted, and a copy shares its data: it cannot be encrypted; copy it file by file'
        : 'the source is encrypted, and so is a copy of it: use a StorageClass with encrypted: "true" and the Secret of the source',
    );
  }
  const encryptable = features.encryptedFsTypes ?? [];
  if (encrypted && (volumeMode === 'Block' || encryptable.length === 0)) {
    throw refuse(
      volumeMode === 'Block'
        ? 'a Block volume cannot be encrypted here; use volumeMode Filesystem, or encrypt in the pod'
        : `pool ${pool} (${features.backend}) makes no encrypted volumes; use backend image on a kernel with CONFIG_FS_ENCRYPTION`,
    );
  }
  if (volumeMode === 'Block') {
    if (wanted.fsType === undefined) return { volumeMode, fsType: undefined };
    throw refuse(`a Block volume has no file system; leave fsType ${wanted.fsType} out`);
  }
  const fsType = wanted.fsType ?? source?.fsType ?? (encrypted ? encryptable : features.fsTypes)[0];
  if (fsType !== undefined && !features.fsTypes.includes(fsType)) {
    const possible = features.fsTypes.join(', ') || 'none by name';
    throw refuse(`pool ${pool} (${features.backend}) has no ${fsType}; possible is ${possible}`);
  }
  if (encrypted && fsType !== undefined && !encryptable.includes(fsType)) {
    throw refuse(`a volume with ${fsType} cannot be encrypted; possible is ${encryptable.join(', ')}`);
  }
  if (source?.fsType !== undefined && source.fsType !== fsType) {
    throw refuse(`the source has ${source.fsType}; a copy of it cannot have ${fsType ?? 'another'}`);
  }
  return { volumeMode, fsType };
}

/** Throws `unsupported` when the pool makes no snapshots and clones. */
export function requireCopies(pool: string, { backend, copies }: BackendFeatures): void {
  if (copies !== 'none') return;
  throw new Fault(
    'unsupported',
    `pool ${pool} (${backend}) makes no snapshots and no clones; use a pool with backend btrfs or image`,
    { fields: { pool, backend } },
  );
}

/**
 * The features as words, sorted, as an inventory lists them; without those of I/O where the node
 * cannot limit any.
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
