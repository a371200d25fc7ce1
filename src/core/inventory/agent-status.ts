/** Status that an agent serves on its admin socket (`/status`). Byte counts are decimal strings. */
export interface AgentStatus {
  readonly version: string;
  readonly nodeName: string;
  readonly startedAt: string;
  readonly sockets: { readonly csi: string; readonly cni: string };
  readonly pools: readonly PoolStatus[];
  readonly volumes: readonly VolumeStatus[];
  readonly snapshots: readonly SnapshotStatus[];
  /** Unreadable records: their data is untouched, and they are not served. */
  readonly quarantined: readonly { readonly file: string; readonly reason: string }[];
  /** Data in a pool without a record. */
  readonly orphans: readonly { readonly pool: string; readonly id: string }[];
  readonly network: NetworkStatus;
}

interface PoolStatus {
  readonly name: string;
  readonly backend: string;
  readonly quota: string;
  readonly totalBytes: string;
  readonly allocatedBytes: string;
  readonly availableBytes: string;
  /** Why its figures or limits cannot be trusted; absent when they can. */
  readonly problem?: string | undefined;
}

interface VolumeStatus {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly sizeBytes: string;
  readonly published: readonly string[];
}

interface SnapshotStatus {
  readonly id: string;
  readonly name: string;
  readonly sourceVolumeId: string;
  readonly sizeBytes: string;
}

/** State of the pod network in the agent's status. */
export interface NetworkStatus {
  readonly families: readonly {
    readonly family: 4 | 6;
    readonly total: string;
    readonly inUse: number;
    readonly cooling: number;
  }[];
  readonly attachments: readonly {
    readonly containerId: string;
    readonly ifname: string;
    readonly pod: string | undefined;
    readonly addresses: readonly string[];
  }[];
}
