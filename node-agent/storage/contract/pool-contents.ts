import type { PoolSpec } from '../../../src/core/pools/pool.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { BlockMaps } from './block-map.ts';
import type { TransfersByMode } from './content-transfer.ts';
import type { VolumeBackend } from './volume-backend.ts';
import type { FileGroupChanger, VolumeMounts } from './volume-mounts.ts';

/** Dependencies for opening a pool. */
export interface OpenPoolDeps {
  readonly kernel: Kernel;
  readonly logger: Logger;
}

/** Dependencies of a backend that opens a pool's contents. */
export interface PoolContentsDeps extends OpenPoolDeps {
  readonly groups: FileGroupChanger;
}

/** The directory of a pool, after its identity was checked. */
export interface PoolDirectory {
  readonly spec: PoolSpec;
  readonly stateDir: string;
  readonly path: string;
  /** Open descriptor of the directory: backends resolve paths below it, whatever covers `path`. */
  readonly root: number;
  readonly fsUuid: string | undefined;
}

/** The contents of a pool, as a backend opens them in the pool's directory. */
export interface PoolContents {
  readonly backend: VolumeBackend;
  readonly mounts: VolumeMounts;
  readonly blockMaps?: BlockMaps;
  readonly transfers?: TransfersByMode;
  /** Why volume sizes cannot be enforced; absent where they are. */
  readonly unenforced?: string | undefined;
  /** Returns why sizes are not accounted for correctly; undefined for a healthy pool. */
  checkHealth(): Promise<string | undefined>;
}
