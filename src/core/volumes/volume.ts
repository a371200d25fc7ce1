import type { VolumeAttributes } from './volume-attributes.ts';

/** Whether pods get a directory or a block device: Kubernetes' volumeMode. */
export const VOLUME_MODES = ['Filesystem', 'Block'] as const;
export type VolumeMode = (typeof VOLUME_MODES)[number];

/** File systems that a volume can have. */
export const FS_TYPES = ['btrfs', 'ext4', 'xfs'] as const;
export type FsType = (typeof FS_TYPES)[number];

/** What kind of content a volume or a snapshot has. */
export interface ContentForm {
  readonly volumeMode: VolumeMode;
  /** Undefined for Block, and where the pool's own file system is what pods see. */
  readonly fsType: FsType | undefined;
}

/** A volume, as far as making and showing it goes. */
export interface VolumeShape extends ContentForm {
  readonly id: string;
  readonly sizeBytes: bigint;
  /** Absent for one that is not encrypted. */
  readonly encryption?: Encryption | undefined;
  /** Absent when nothing of it is limited. */
  readonly attributes?: VolumeAttributes | undefined;
  /**
   * The SELinux context that its own file system is mounted with while it is staged; absent for
   * none.
   */
  readonly selinuxContext?: string | undefined;
}

/** How a volume and all its copies are encrypted at rest. Nothing in it is secret. */
export interface Encryption {
  /** Makes of a passphrase the key of this volume and its copies alone; hexadecimal. */
  readonly salt: string;
  /**
   * The kernel's name of the key, hexadecimal; undefined until the volume is staged for the first
   * time, which decides it.
   */
  readonly keyIdentifier?: string | undefined;
}

/** A volume as its durable record holds it. Sizes are bytes. */
export interface Volume extends VolumeShape {
  readonly name: string;
  readonly pool: string;
  readonly source: ContentSource | undefined;
  /**
   * True for one that was made for a pod and goes with it; its name is then the caller's handle of
   * it.
   */
  readonly ephemeral?: boolean | undefined;
  /**
   * `creating` and `deleting` are intents: whoever finds one after a crash finishes or undoes it.
   */
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly createdAtMs: number;
  readonly pins: Pins;
  readonly staged: readonly string[];
  readonly published: readonly Publication[];
  /**
   * That an orchestrator which asks has been promised the volume on this node; absent for all
   * others.
   */
  readonly controllerPublication?: ControllerPublication | undefined;
}

/** How a volume was published to the node as a whole. */
export type ControllerPublication = Pick<Publication, 'readonly' | 'accessMode'>;

/** A read-only copy of a volume at one moment. */
export interface Snapshot extends ContentForm {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly sourceVolumeId: string;
  /** Of which group it is a member. A group has no record of its own: it is its members. */
  readonly group?: { readonly id: string; readonly name: string } | undefined;
  /** Size of the volume when it was taken: what a restored volume needs at least. */
  readonly sizeBytes: bigint;
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly createdAtMs: number;
  readonly pins: Pins;
  readonly encryption?: Encryption | undefined;
}

export interface ContentSource {
  readonly kind: 'volume' | 'snapshot';
  readonly id: string;
}

/**
 * Bytes that were charged to other volumes when this was copied from them, by volume id: as long as
 * this exists, that much of their charge may stay although they rewrite everything
 * (docs/decisions/0005-btrfs-quota.md).
 */
export type Pins = Readonly<Record<string, bigint>>;

/** One place at which a volume is mounted for a workload. */
export interface Publication {
  readonly target: string;
  readonly readonly: boolean;
  readonly flags: readonly string[];
  readonly accessMode: AccessMode;
}

/** Access modes of CSI that a volume on one node can have. */
export const ACCESS_MODES = [
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_READER_ONLY',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
] as const;
export type AccessMode = (typeof ACCESS_MODES)[number];
