import type { PoolSpec } from '../../src/core/pools/pool.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { findIoCgroups, type IoCgroups } from '../linux/process/io-cgroups.ts';
import type { Kernel } from '../linux/kernel/kernel.ts';
import { openLimitedDevices } from './limits/limited-devices.ts';
import { NodePools } from './pools/node-pools.ts';
import { openPool } from './pools/open-pool.ts';
import { openRecordStore } from './records/record-store.ts';
import { findDataInUse } from './removal/unrecorded-data.ts';
import { createServices, type ServiceDeps, type StorageServices } from './services.ts';

/** Options of `openStorage`. */
export interface StorageOptions {
  readonly stateDir: string;
  readonly pools: readonly PoolSpec[];
  /** Limits how many bytes of deleted volumes a pool frees each second; default 1 GiB. */
  readonly trashBytesPerSecond?: bigint | undefined;
}

/** Dependencies of `openStorage`. */
export interface StorageDeps
  extends Pick<ServiceDeps, 'logger' | 'metrics' | 'clock' | 'selinux' | 'onUsageChange'> {
  readonly kernel: Kernel;
  /** Default: the host's, below /sys/fs/cgroup. */
  readonly cgroups?: IoCgroups | undefined;
}

/** The storage of one node. Disposing closes the pools and leaves them mounted for the pods. */
export interface Storage extends StorageServices, AsyncDisposable {}

const CGROUP_ROOT = '/sys/fs/cgroup';

/**
 * Opens the records, tries to open every pool once, and repairs what a crash or a reboot left.
 * `run` retries pools that fail; they do not affect the others, and the report has their problems.
 */
export async function openStorage(
  { stateDir, pools: configured, trashBytesPerSecond }: StorageOptions,
  deps: StorageDeps,
): Promise<Storage> {
  const { logger, clock = systemClock } = deps;
  await using cleanup = new AsyncDisposableStack();
  const records = await openRecordStore({ stateDir }, deps);
  const pools = cleanup.use(
    new NodePools(
      { stateDir, configured },
      {
        open: (spec) => openPool({ ...spec, stateDir }, deps),
        countRecords: (name) =>
          [...records.volumes.values(), ...records.snapshots.values()].filter(({ pool }) => pool === name)
            .length,
        logger,
        clock,
      },
    ),
  );
  const io = {
    cgroups: deps.cgroups ?? (await findIoCgroups(CGROUP_ROOT)),
    devices: await openLimitedDevices({ stateDir }, deps),
  };
  const { recover, settled, ...services } = createServices({
    ...deps,
    ...{ pools, records, io, findUse: findDataInUse, trashBytesPerRun: trashBytesPerSecond },
  });
  await pools.start({ recover, settled });
  const owned = cleanup.move();
  return {
    ...services,
    run: async (signal) => {
      await Promise.all([services.run(signal), pools.run(signal)]);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
