import type { BackendKind } from '../volumes/backend-features.ts';
import type { Reserve } from './pool-capacity.ts';
import type { QuotaMode } from '../volumes/volume-quota.ts';

/** The storage of a pool. */
export type PoolSource =
  /** A directory of a mounted file system. */
  | { readonly kind: 'path'; readonly path: string }
  /** A sparse file that the agent creates, and grows when its size is raised. */
  | { readonly kind: 'file'; readonly file: string; readonly sizeBytes: bigint }
  /** Whole, empty block devices, by path or glob. */
  | { readonly kind: 'devices'; readonly devices: readonly string[] };

/** A requested pool, of the configuration or of a StoragePool. */
export interface PoolSpec {
  readonly name: string;
  readonly backend: BackendKind;
  /** Labels that StorageClasses select by. */
  readonly labels: Readonly<Record<string, string>>;
  readonly source: PoolSource;
  /**
   * The kind of quota groups, for backend btrfs; `auto` uses simple quotas if the kernel supports
   * them.
   */
  readonly quota: 'auto' | QuotaMode;
  /** Space that is never promised to volumes, besides the file system's metadata. */
  readonly reserve: Reserve;
  /** Share of the space that may be promised, in percent. */
  readonly overcommitPercent: number;
  /**
   * For backend directory: whether volumes are refused if the kernel cannot enforce their sizes.
   */
  readonly enforce: boolean;
}

/** Defaults of a pool's optional properties. */
export const POOL_DEFAULTS = {
  labels: {},
  quota: 'auto',
  reserve: { kind: 'bytes', bytes: 0n },
  overcommitPercent: 100,
  enforce: true,
} as const satisfies Partial<PoolSpec>;

/**
 * Returns why a pool in service cannot become `next`; undefined if only its size, labels or policy
 * differ.
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
