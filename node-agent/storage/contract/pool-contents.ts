import type { PoolSpec } from '../../../src/core/pools/pool.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { VolumeBackend, VolumeMounts } from './backend.ts';
import type { FileGroups } from '../mounts/file-groups.ts';
import type { BlockMaps } from '../content/file-block-maps.ts';
import type { TransfersByMode } from './content-transfer.ts';

export interface OpenPoolDeps {
  readonly kernel: Kernel;
  readonly logger: Logger;
}

/** What a backend gets to make a pool's contents with. */
export interface PoolContentsDeps extends OpenPoolDeps {
  readonly groups: FileGroups;
}

/** The directory of a pool, recognised as what it should be. */
export interface PoolDirectory {
  readonly spec: PoolSpec;
  readonly stateDir: string;
  readonly path: string;
  /** Open descriptor of it: from here on everything is done relative to this, whatever is mounted over the path. */
  readonly root: number;
  readonly fsUuid: string | undefined;
}

/** What a backend makes of a pool's directory. */
export interface PoolContents {
  readonly backend: VolumeBackend;
  readonly mounts: VolumeMounts;
  readonly blockMaps?: BlockMaps;
  readonly transfers?: TransfersByMode;
  /** Why volumes cannot be held to their size here; absent when they are. */
  readonly unenforced?: string | undefined;
  checkHealth(): Promise<string | undefined>;
}
