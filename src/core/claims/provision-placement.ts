import type { PoolParameters } from '../pools/pool-parameters.ts';
import { refuseLabels } from '../volumes/pool-selector.ts';
import type { ClassView, NodeView, PoolView, TopologyRequirement } from './provision.ts';
import { formatBytes } from '../kube-text/quantity.ts';
import type { FsType } from '../volumes/volume.ts';
import { limitsIo, type VolumeAttributes } from '../volumes/volume-attributes.ts';

/** Which pools a volume may be in; without parameters, all. */
export interface PoolRequest extends Partial<PoolParameters> {
  readonly fsType?: FsType | undefined;
  readonly volumeMode?: string | undefined;
  /** Attributes of the new volume. */
  readonly attributes?: VolumeAttributes | undefined;
}

/** A volume to place: its claim, its size, and what its pool must offer. */
export interface PlacementRequest {
  readonly claimName: string;
  readonly sizeBytes: bigint;
  readonly poolRequest: PoolRequest;
  readonly allowedTopologies: ClassView['allowedTopologies'];
  /** Nodes that refused recently. */
  readonly avoid: Pick<ReadonlySet<string>, 'has'>;
}

/** A node and pool for a volume, or why none can hold it. */
export type Placement =
  | { readonly nodeName: string; readonly poolName: string }
  /** What each node lacks, human-readable. */
  | { readonly lacking: string };

/** A message lists this many nodes and counts the others. */
const NAMED_NODES = 5;

/**
 * Returns the node for a volume that may be anywhere. Claims of a StatefulSet (`NAME-ORDINAL`) are
 * spread over the nodes by ordinal, so that replicas do not share one; others go to the node with
 * the most free space.
 */
export function placeAnywhere(nodes: Iterable<NodeView>, request: PlacementRequest): Placement {
  const candidates: { readonly node: NodeView; readonly pool: PoolView }[] = [];
  const lacks: string[] = [];
  for (const node of [...nodes].sort(byName)) {
    const why = unfit(node, request);
    const pool = choosePool(node, request.poolRequest);
    if (why === undefined && pool !== undefined && pool.freeBytes >= request.sizeBytes) {
      candidates.push({ node, pool });
    } else {
      lacks.push(`${node.name}: ${why ?? describeFreeSpace(node, request.poolRequest, pool)}`);
    }
  }
  const first = startOf(request.claimName, candidates.length);
  const chosen =
    first === undefined
      ? candidates.reduce<(typeof candidates)[number] | undefined>(
          (best, next) => (best === undefined || next.pool.freeBytes > best.pool.freeBytes ? next : best),
          undefined,
        )
      : candidates[first];
  if (chosen !== undefined) return { nodeName: chosen.node.name, poolName: chosen.pool.name };
  const more = lacks.length > NAMED_NODES ? `; and ${lacks.length - NAMED_NODES} more` : '';
  const noNodes = 'the cluster has no nodes';
  return { lacking: lacks.length === 0 ? noNodes : `${lacks.slice(0, NAMED_NODES).join('; ')}${more}` };
}

/**
 * Returns the pool of `node` for a volume: the fitting one with the most free space. Undefined when
 * none fits.
 */
export function choosePool(node: NodeView, poolRequest: PoolRequest): PoolView | undefined {
  return node.pools
    .filter((pool) => pool.isReady && lackOf(pool, poolRequest) === undefined && isNamed(pool, poolRequest))
    .reduce<PoolView | undefined>(
      (best, next) => (best === undefined || next.freeBytes > best.freeBytes ? next : best),
      undefined,
    );
}

/** Returns why no pool of the node can be used, or how much free space the best one has. */
export function describeFreeSpace(
  node: NodeView,
  poolRequest: PoolRequest,
  pool = choosePool(node, poolRequest),
): string {
  if (pool !== undefined) return `pool ${pool.name} has ${formatBytes(pool.freeBytes)} free`;
  return explainNoPool(node, poolRequest).text;
}

/**
 * Returns why `choosePool` finds none: no such pool, none that can create such volumes, or none
 * that is ready.
 */
export function explainNoPool(
  { pools }: NodeView,
  poolRequest: PoolRequest,
): { readonly problem: 'none' | 'unfit' | 'closed'; readonly text: string } {
  const named = pools.filter((candidate) => isNamed(candidate, poolRequest));
  const closed = named.find(
    (candidate) => !candidate.isReady && lackOf(candidate, poolRequest) === undefined,
  );
  if (closed !== undefined) {
    const reason = closed.reason ?? 'reason unknown';
    return { problem: 'closed', text: `pool ${closed.name} is not ready: ${reason}` };
  }
  if (named.length > 0) {
    const lacks = named.map((candidate) => `pool ${candidate.name} ${lackOf(candidate, poolRequest) ?? ''}`);
    return { problem: 'unfit', text: lacks.join('; ') };
  }
  const which = poolRequest.pool === undefined ? 'no pool' : `no pool ${poolRequest.pool}`;
  return { problem: 'none', text: `its agent offers ${which}` };
}

function isNamed({ name }: PoolView, { pool }: PoolRequest): boolean {
  return pool === undefined || name === pool;
}

/** Returns how the pool differs from those that a class requests; undefined when it does not. */
export function strangenessOf(
  pool: Pick<PoolView, 'backend' | 'labels'>,
  { backend, poolSelector }: Pick<PoolRequest, 'backend' | 'poolSelector'>,
): string | undefined {
  if (backend !== undefined && (pool.backend ?? backend) !== backend) {
    return `has backend ${pool.backend ?? 'unknown'}, not ${backend}`;
  }
  // An agent that does not report labels has none.
  return poolSelector && refuseLabels(poolSelector, pool.labels ?? {});
}

/**
 * Returns why the pool cannot create such a volume. A pool whose features are unknown may refuse
 * later.
 */
function lackOf(pool: PoolView, poolRequest: PoolRequest): string | undefined {
  const { fsType, volumeMode, encrypted, attributes = {} } = poolRequest;
  const can = (word: string): boolean => pool.features?.includes(word) ?? true;
  const stranger = strangenessOf(pool, poolRequest);
  if (stranger !== undefined) return stranger;
  if (volumeMode === 'Block' && !can('block')) return 'does not support volumeMode Block';
  if (fsType !== undefined && !can(`fs-${fsType}`)) return `does not support ${fsType}`;
  if (encrypted === true && !can('encryption')) return 'does not support encryption';
  if (limitsIo(attributes) && !can(volumeMode === 'Block' ? 'block-io-limits' : 'io-limits')) {
    return 'does not support I/O limits for such volumes';
  }
  if (attributes.quotaInodes !== undefined && !can('inode-limits')) return 'does not support inode limits';
  return undefined;
}

function unfit(node: NodeView, { allowedTopologies, avoid }: PlacementRequest): string | undefined {
  if (!node.isUsable) return 'is unschedulable';
  if (allowedTopologies.length > 0 && !allowedTopologies.some((term) => matchesTopology(node, term))) {
    return 'is not in allowedTopologies';
  }
  return avoid.has(node.name) ? 'refused this volume recently' : undefined;
}

/** Whether the node meets all requirements of one topology term. */
export function matchesTopology(
  { labels }: Pick<NodeView, 'labels'>,
  term: readonly TopologyRequirement[],
): boolean {
  return term.every(({ key, values }) => values.includes(labels[key] ?? ''));
}

/** Start of the order for a claim of a StatefulSet; undefined for other claims. */
function startOf(claimName: string, count: number): number | undefined {
  const match = /^(.+)-(\d{1,6})$/.exec(claimName);
  if (match?.[1] === undefined || count === 0) return undefined;
  let hash = 0;
  for (const character of match[1]) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 65_521;
  return (hash + Number(match[2])) % count;
}

function byName(a: NodeView, b: NodeView): number {
  return a.name < b.name ? -1 : 1;
}
