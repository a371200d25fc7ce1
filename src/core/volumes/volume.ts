import type { VolumeAttributes } from './volume-attributes.ts';

/** Kubernetes' volumeMode: pods get a directory or a block device. */
export const VOLUME_MODES = ['Filesystem', 'Block'] as const;
/** One of `VOLUME_MODES`. */
export type VolumeMode = (typeof VOLUME_MODES)[number];

/** File systems of volumes. */
export const FS_TYPES = ['btrfs', 'ext4', 'xfs'] as const;
/** One of `FS_TYPES`. */
export type FsType = (typeof FS_TYPES)[number];

/** The form of a volume's or snapshot's content. */
export interface ContentForm {
  readonly volumeMode: VolumeMode;
  /** Undefined for Block volumes, and where pods see the pool's own file system. */
  readonly fsType: FsType | undefined;
}

/** A volume, as far as backends and mounts need it. */
export interface VolumeShape extends ContentForm {
  readonly id: string;
  readonly sizeBytes: bigint;
  /** Absent for an unencrypted volume. */
  readonly encryption?: Encryption | undefined;
  /** Absent without any limit. */
  readonly attributes?: VolumeAttributes | undefined;
  /**
   * The SELinux context with which the volume's own file system is mounted while staged; absent for
   * none.
   */
  readonly selinuxContext?: string | undefined;
}

/** Encryption at rest of a volume and its copies; it contains no secret. */
export interface Encryption {
  /** Salt from which a passphrase derives the key of this volume and its copies; hexadecimal. */
  readonly salt: string;
  /**
   * The kernel's identifier of the key, hexadecimal; undefined until the first staging decides it.
   */
  readonly keyIdentifier?: string | undefined;
}

/** A volume, as its durable record holds it. Sizes are in bytes. */
export interface Volume extends VolumeShape {
  readonly name: string;
  readonly pool: string;
  readonly source: ContentSource | undefined;
  /** True for an ephemeral volume; its name is the caller's handle. */
  readonly ephemeral?: boolean | undefined;
  /** `creating` and `deleting` are intents, which recovery finishes or undoes after a crash. */
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly createdAtMs: number;
  readonly pins: Pins;
  readonly staged: readonly string[];
  readonly published: readonly Publication[];
  /** The publication to this node (CSI ControllerPublishVolume); absent without one. */
  readonly controllerPublication?: ControllerPublication | undefined;
}

/** How a volume is published to the node (CSI ControllerPublishVolume). */
export type ControllerPublication = Pick<Publication, 'readonly' | 'accessMode'>;

/** A read-only copy of a volume at one instant. */
export interface Snapshot extends ContentForm {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly sourceVolumeId: string;
  /** The group snapshot that it is a member of; a group consists of its members only. */
  readonly group?: { readonly id: string; readonly name: string } | undefined;
  /** Size of the volume when the snapshot was created: the minimum for a restored volume. */
  readonly sizeBytes: bigint;
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly createdAtMs: number;
  readonly pins: Pins;
  readonly encryption?: Encryption | undefined;
}

/** The volume or snapshot that a new volume is a copy of. */
export interface ContentSource {
  readonly kind: 'volume' | 'snapshot';
  readonly id: string;
}

/**
 * Bytes that were charged to other volumes when this copy was created, by volume id. While the copy
 * exists, that much of their charge may stay even if they rewrite all data
 * (docs/decisions/0005-btrfs-quota.md).
 */
export type Pins = Readonly<Record<string, bigint>>;

/** A target path at which a volume is mounted for a workload. */
export interface Publication {
  readonly target: string;
  readonly readonly: boolean;
  readonly flags: readonly string[];
  readonly accessMode: AccessMode;
}

/** CSI access modes of a volume on one node. */
export const ACCESS_MODES = [
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_READER_ONLY',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
] as const;
/** One of `ACCESS_MODES`. */
export type AccessMode = (typeof ACCESS_MODES)[number];
