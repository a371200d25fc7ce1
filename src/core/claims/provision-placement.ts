import type { PoolParameters } from '../pools/pool-parameters.ts';
import { refuseLabels } from '../pools/pool-selector.ts';
import type { ClassView, NodeView, PoolView, TopologyRequirement } from './provision.ts';
import { formatBytes } from '../kube-text/quantity.ts';
import type { FsType } from '../volumes/volume.ts';
import { limitsIo, type VolumeAttributes } from '../volumes/volume-attributes.ts';

/** Which pools a volume can be in; all when nothing is said. */
export interface PoolRequest extends Partial<PoolParameters> {
  readonly fsType?: FsType | undefined;
  readonly volumeMode?: string | undefined;
  /** What it is to have from the start. */
  readonly attributes?: VolumeAttributes | undefined;
}

export interface PlacementRequest {
  readonly claimName: string;
  readonly sizeBytes: bigint;
  readonly poolRequest: PoolRequest;
  readonly allowedTopologies: ClassView['allowedTopologies'];
  /** Nodes that have just refused. */
  readonly avoid: Pick<ReadonlySet<string>, 'has'>;
}

export type Placement =
  | { readonly nodeName: string; readonly poolName: string }
  /** What each node lacks, for people. */
  | { readonly lacking: string };

/** Nodes named in a message; the others are counted. */
const NAMED_NODES = 5;

/**
 * The node for a volume that may be anywhere. Claims of a StatefulSet (`NAME-ORDINAL`) go around the nodes by their ordinal, so that
 * replicas do not share one; all others go where the most room is.
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
  const nobody = 'there are no nodes';
  return { lacking: lacks.length === 0 ? nobody : `${lacks.slice(0, NAMED_NODES).join('; ')}${more}` };
}

/** The pool of `node` for a volume: of those that can be it, the one with the most room. Undefined when none takes such volumes. */
export function choosePool(node: NodeView, poolRequest: PoolRequest): PoolView | undefined {
  return node.pools
    .filter((pool) => pool.isReady && lackOf(pool, poolRequest) === undefined && isNamed(pool, poolRequest))
    .reduce<PoolView | undefined>(
      (best, next) => (best === undefined || next.freeBytes > best.freeBytes ? next : best),
      undefined,
    );
}

/** Why no pool of the node can be used, or how much room the best one has. */
export function describeFreeSpace(
  node: NodeView,
  poolRequest: PoolRequest,
  pool = choosePool(node, poolRequest),
): string {
  if (pool !== undefined) return `pool ${pool.name} has ${formatBytes(pool.freeBytes)} free`;
  return explainNoPool(node, poolRequest).text;
}

/** Why `choosePool` chooses none: there is none, or none that makes such volumes, or those that do are not ready. */
export function explainNoPool(
  { pools }: NodeView,
  poolRequest: PoolRequest,
): { readonly problem: 'none' | 'unfit' | 'closed'; readonly text: string } {
  const named = pools.filter((candidate) => isNamed(candidate, poolRequest));
  const closed = named.find(
    (candidate) => !candidate.isReady && lackOf(candidate, poolRequest) === undefined,
  );
  if (closed !== undefined) {
    const reason = closed.reason ?? 'its agent gives no reason';
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

/** Why the pool is not one of those that a class asks for, by what the pool is; undefined when it is. */
export function strangenessOf(
  pool: Pick<PoolView, 'backend' | 'labels'>,
  { backend, poolSelector }: Pick<PoolRequest, 'backend' | 'poolSelector'>,
): string | undefined {
  if (backend !== undefined && (pool.backend ?? backend) !== backend) {
    return `has backend ${pool.backend ?? 'unknown'}, not ${backend}`;
  }
  // An agent that does not say which labels its pools have knows of none.
  return poolSelector && refuseLabels(poolSelector, pool.labels ?? {});
}

/** Why the pool cannot make such a volume. One whose agent does not say what it can is given the chance to refuse. */
function lackOf(pool: PoolView, poolRequest: PoolRequest): string | undefined {
  const { fsType, volumeMode, encrypted, attributes = {} } = poolRequest;
  const can = (word: string): boolean => pool.features?.includes(word) ?? true;
  const stranger = strangenessOf(pool, poolRequest);
  if (stranger !== undefined) return stranger;
  if (volumeMode === 'Block' && !can('block')) return 'makes no Block volumes';
  if (fsType !== undefined && !can(`fs-${fsType}`)) return `has no ${fsType}`;
  if (encrypted === true && !can('encryption')) return 'makes no encrypted volumes';
  if (limitsIo(attributes) && !can(volumeMode === 'Block' ? 'block-io-limits' : 'io-limits')) {
    return 'cannot limit the I/O of such volumes';
  }
  if (attributes.quotaInodes !== undefined && !can('inode-limits')) return 'cannot limit inodes';
  return undefined;
}

function unfit(node: NodeView, { allowedTopologies, avoid }: PlacementRequest): string | undefined {
  if (!node.isUsable) return 'takes no new pods';
  if (allowedTopologies.length > 0 && !allowedTopologies.some((term) => matchesTopology(node, term))) {
    return 'is not among the allowedTopologies';
  }
  return avoid.has(node.name) ? 'has just refused this volume' : undefined;
}

/** Whether all requirements of one topology term hold for the node. */
export function matchesTopology(
  { labels }: Pick<NodeView, 'labels'>,
  term: readonly TopologyRequirement[],
): boolean {
  return term.every(({ key, values }) => values.includes(labels[key] ?? ''));
}

/** Where a StatefulSet's claim begins; undefined for other claims. */
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
