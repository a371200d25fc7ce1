/**
 * How bad a volume's trouble is, in the words of CSI 1.13: it works but not as promised, it cannot
 * be used now, its data is gone.
 */
export type VolumeTrouble = 'degraded' | 'inaccessible' | 'data-loss';

/** One trouble of one volume. */
export interface VolumeProblem {
  readonly status: VolumeTrouble;
  /** For machines: one CamelCase word. */
  readonly reason: string;
  /** For people. */
  readonly message: string;
}

/**
 * What is known of a volume and its pool; every field is undefined, or true, when that part is
 * well.
 */
export interface VolumeFacts {
  readonly pool: string;
  /** Why the pool cannot be used. */
  readonly poolClosed: string | undefined;
  /** Why the pool's accounting of what is written cannot be trusted. */
  readonly miscounted: string | undefined;
  /** Whether the pool has data of this volume; not known of a pool that is closed. */
  readonly isPresent: boolean;
  /** The path asked about, when the volume should be mounted there and is not. */
  readonly notMountedAt: string | undefined;
  /** A place at which its file system takes no writes although nobody asked for that. */
  readonly readOnlyAt: string | undefined;
}

/** What is wrong with a volume, the worst first; nothing when all is well. */
export function judgeVolume(facts: VolumeFacts): readonly VolumeProblem[] {
  const { pool, poolClosed, miscounted, isPresent, notMountedAt, readOnlyAt } = facts;
  if (poolClosed !== undefined) {
    return [{ status: 'inaccessible', reason: 'PoolUnavailable', message: `pool ${pool}: ${poolClosed}` }];
  }
  const problems: VolumeProblem[] = [];
  if (!isPresent) {
    problems.push({
      status: 'data-loss',
      reason: 'DataMissing',
      message: `pool ${pool} has no data of this volume; restore it from a snapshot or a backup, or delete it`,
    });
  }
  if (notMountedAt !== undefined) {
    problems.push({
      status: 'inaccessible',
      reason: 'NotMounted',
      message: `it was published at ${notMountedAt}, and is not mounted there now; publish it again`,
    });
  }
  if (readOnlyAt !== undefined) {
    problems.push({
      status: 'degraded',
      reason: 'FilesystemReadOnly',
      message: `the file system at ${readOnlyAt} takes no more writes, as after an error on its disk; look into the kernel's log`,
    });
  }
  if (miscounted !== undefined) {
    problems.push({
      status: 'degraded',
      reason: 'QuotaInconsistent',
      message: `pool ${pool}: ${miscounted}`,
    });
  }
  return problems;
}

/** Trouble of pools, not of one volume. */
export interface StorageProblem {
  readonly status: 'degraded' | 'unreachable';
  readonly reason: 'PoolUnavailable' | 'PoolProblem';
  /** Names every pool that is concerned. */
  readonly message: string;
}

/** A pool that is not as it should be. */
export interface SickPool {
  readonly name: string;
  readonly isOpen: boolean;
  readonly problem: string;
}

/** At most one problem for each status: CSI allows no two with the same reason. */
export function judgePools(pools: readonly SickPool[]): readonly StorageProblem[] {
  const describe = (isOpen: boolean): string =>
    pools
      .filter((pool) => pool.isOpen === isOpen)
      .map(({ name, problem }) => `pool ${name}: ${problem}`)
      .join('; ');
  const closed = describe(false);
  const sick = describe(true);
  return [
    ...(closed === ''
      ? []
      : [{ status: 'unreachable', reason: 'PoolUnavailable', message: closed } as const]),
    ...(sick === '' ? [] : [{ status: 'degraded', reason: 'PoolProblem', message: sick } as const]),
  ];
}
