/**
 * Severity of a volume's problem (CSI 1.13): it works with restrictions, it is inaccessible, or its
 * data is lost.
 */
type VolumeSeverity = 'degraded' | 'inaccessible' | 'data-loss';

/** A problem of a volume. */
export interface VolumeProblem {
  readonly status: VolumeSeverity;
  /** CamelCase reason, for programs. */
  readonly reason: string;
  /** One sentence, for users. */
  readonly message: string;
}

/** Findings about a volume and its pool; undefined or true for healthy parts. */
export interface VolumeFacts {
  readonly pool: string;
  /** Why the pool is not available. */
  readonly poolClosed: string | undefined;
  /** Why the pool's accounting is not reliable. */
  readonly miscounted: string | undefined;
  /** Whether the pool has the volume's data; meaningless while the pool is not available. */
  readonly isPresent: boolean;
  /** The requested path, if the volume is published there but not mounted. */
  readonly notMountedAt: string | undefined;
  /** A target at which the file system is read-only without a request. */
  readonly readOnlyAt: string | undefined;
}

/** Returns the problems of a volume, the most severe first; none for a healthy volume. */
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
      message: `it is published at ${notMountedAt}, but not mounted there; publish it again`,
    });
  }
  if (readOnlyAt !== undefined) {
    problems.push({
      status: 'degraded',
      reason: 'FilesystemReadOnly',
      message: `the file system at ${readOnlyAt} is read-only, as after a disk error; see the kernel's log`,
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

/** A problem of pools. */
export interface StorageProblem {
  readonly status: 'degraded' | 'unreachable';
  readonly reason: 'PoolUnavailable' | 'PoolProblem';
  /** Names all affected pools. */
  readonly message: string;
}

/** A pool with a problem. */
export interface UnhealthyPool {
  readonly name: string;
  readonly isOpen: boolean;
  readonly problem: string;
}

/** Returns at most one problem per status: CSI requires unique reasons. */
export function judgePools(pools: readonly UnhealthyPool[]): readonly StorageProblem[] {
  const describe = (isOpen: boolean): string =>
    pools
      .filter((pool) => pool.isOpen === isOpen)
      .map(({ name, problem }) => `pool ${name}: ${problem}`)
      .join('; ');
  const closed = describe(false);
  const degraded = describe(true);
  return [
    ...(closed === ''
      ? []
      : [{ status: 'unreachable', reason: 'PoolUnavailable', message: closed } as const]),
    ...(degraded === '' ? [] : [{ status: 'degraded', reason: 'PoolProblem', message: degraded } as const]),
  ];
}
