import type { BackendKind } from '../volumes/backend-features.ts';
import type { Reserve } from './pool-capacity.ts';
import type { QuotaMode } from '../volumes/volume-quota.ts';

/** What a pool is made of. */
export type PoolSource =
  /** A directory of a file system that somebody else mounts. */
  | { readonly kind: 'path'; readonly path: string }
  /** A sparse file that is made, and grown when its size is raised. */
  | { readonly kind: 'file'; readonly file: string; readonly sizeBytes: bigint }
  /** Whole, empty block devices, by path or glob. */
  | { readonly kind: 'devices'; readonly devices: readonly string[] };

/** A pool as it is wished for, in the configuration or by a StoragePool. */
export interface PoolSpec {
  readonly name: string;
  readonly backend: BackendKind;
  /** By these StorageClasses select it. */
  readonly labels: Readonly<Record<string, string>>;
  readonly source: PoolSource;
  /**
   * Of backend btrfs: the kind of quota groups; `auto` takes simple ones where the kernel has them.
   */
  readonly quota: 'auto' | QuotaMode;
  /** Never given to volumes, besides what the file system keeps for itself. */
  readonly reserve: Reserve;
  /** How much may be promised, in percent of what there is. */
  readonly overcommitPercent: number;
  /**
   * Of backend directory: whether volumes are refused where the kernel cannot hold them to their
   * size.
   */
  readonly enforce: boolean;
}

/** What a pool has when nothing is said. */
export const POOL_DEFAULTS = {
  labels: {},
  quota: 'auto',
  reserve: { kind: 'bytes', bytes: 0n },
  overcommitPercent: 100,
  enforce: true,
} as const satisfies Partial<PoolSpec>;

/**
 * What of a pool cannot be changed while it is in service; undefined when `next` is the same pool,
 * perhaps larger or with other figures.
 */
export function differenceOf(current: PoolSpec, next: PoolSpec): string | undefined {
  if (current.backend !== next.backend) return `backend ${current.backend} cannot become ${next.backend}`;
  const [now, then] = [current.source, next.source];
  if (now.kind !== then.kind) return `its source is a ${now.kind} and cannot become a ${then.kind}`;
  if (now.kind === 'path' && then.kind === 'path' && now.path !== then.path) {
    return `its path is ${now.path} and cannot become ${then.path}`;
  }
  if (now.kind === 'file' && then.kind === 'file' && now.file !== then.file) {
    return `its file is ${now.file} and cannot become ${then.file}`;
  }
  return undefined;
}
