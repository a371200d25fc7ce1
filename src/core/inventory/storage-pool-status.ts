import type { ConditionReason } from '../reasons/condition-reasons.ts';
import {
  type ApiCondition,
  apiTime,
  canonicalJson,
  clip,
  settleConditions,
} from '../kube-text/api-status.ts';
import type { PoolFacts } from './inventory.ts';
import { formatQuantity, parseQuantity } from '../kube-text/quantity.ts';

/** Keeps a StoragePool for as long as it has volumes. */
export const POOL_FINALIZER = 'keelson.dev/pool';

/** A node, seen from one StoragePool. */
export interface PoolOnNode {
  readonly nodeName: string;
  readonly isSelected: boolean;
  /** The pool of that name as its agent reports it; undefined for none. */
  readonly pool: PoolFacts | undefined;
}

/** StoragePool.status. */
export interface PoolStatusFields {
  readonly observedGeneration?: number | undefined;
  readonly nodes?: { readonly selected: number; readonly ready: number } | undefined;
  readonly capacity?: string | undefined;
  readonly allocated?: string | undefined;
  readonly volumes?: number | undefined;
  readonly conditions?: readonly ApiCondition[] | undefined;
}

/** What the status of a StoragePool depends on. */
export interface PoolFindings {
  readonly generation: number;
  readonly isDeleting: boolean;
  readonly nodes: readonly PoolOnNode[];
}

/** A condition lists this many nodes. */
const NAMED_NODES = 5;

/** Returns the status to write, or undefined when `previous` is equal. */
export function planPoolStatus(
  findings: PoolFindings,
  previous: PoolStatusFields | undefined,
  now: Date,
): PoolStatusFields | undefined {
  const { generation: observedGeneration, nodes } = findings;
  const ours = nodes.flatMap(({ pool }) => (isOurs(pool) ? [pool] : []));
  const selected = nodes.filter(({ isSelected }) => isSelected);
  const lacking = selected.filter(({ pool }) => !isOurs(pool) || !pool.ready);
  const sum = (field: 'capacity' | 'allocated'): string =>
    formatQuantity(ours.reduce((all, pool) => all + parseQuantity(pool[field], field), 0n));
  const next: PoolStatusFields = {
    observedGeneration,
    nodes: { selected: selected.length, ready: selected.length - lacking.length },
    capacity: sum('capacity'),
    allocated: sum('allocated'),
    volumes: ours.reduce((all, { volumes }) => all + volumes, 0),
    conditions: settleConditions(
      previous?.conditions,
      conditionsOf(findings, lacking).map((condition) => ({
        ...condition,
        observedGeneration,
        message: clip(condition.message, 4_096),
        lastTransitionTime: apiTime(now),
      })),
    ),
  };
  return canonicalJson(next) === canonicalJson(previous) ? undefined : next;
}

/**
 * Returns the nodes that have volumes of the pool, each with the count: a deleted StoragePool waits
 * for them.
 */
export function nodesInUse(nodes: readonly PoolOnNode[]): readonly string[] {
  return nodes.flatMap(({ nodeName, pool }) =>
    isOurs(pool) && pool.volumes > 0 ? [`${nodeName} has ${pool.volumes}`] : [],
  );
}

function conditionsOf(
  { isDeleting, nodes }: PoolFindings,
  lacking: readonly PoolOnNode[],
): (Omit<ApiCondition, 'lastTransitionTime'> & { readonly reason: ConditionReason })[] {
  const isSelected = nodes.some((node) => node.isSelected);
  const reasons = lacking.map(({ nodeName, pool }) => `${nodeName}: ${describeLack(pool)}`);
  const ready = isSelected && lacking.length === 0 && !isDeleting;
  const inUse = nodesInUse(nodes);
  const why = isDeleting ? 'Deleting' : isSelected ? 'NotOnAllNodes' : 'NoNodeSelected';
  return [
    {
      type: 'Ready',
      status: ready ? 'True' : 'False',
      reason: ready ? 'OnAllNodes' : why,
      message: isSelected ? listed(reasons) : 'no node matches nodeSelector',
    },
    {
      type: 'InUse',
      status: inUse.length > 0 ? 'True' : 'False',
      reason: inUse.length > 0 ? 'HasVolumes' : 'Empty',
      message:
        isDeleting && inUse.length > 0
          ? `the pool is being deleted; it takes no new volumes, and is deleted once these are: ${listed(inUse, ', ')}`
          : '',
    },
  ];
}

function describeLack(pool: PoolFacts | undefined): string {
  if (pool === undefined) return 'its agent does not report the pool yet';
  if (!isOurs(pool)) return "a pool of this name in the node's configuration file takes precedence";
  return pool.reason ?? 'reason unknown';
}

function isOurs(pool: PoolFacts | undefined): pool is PoolFacts {
  return pool?.origin === 'api';
}

function listed(all: readonly string[], separator = '; '): string {
  const more = all.length > NAMED_NODES ? `${separator}and ${all.length - NAMED_NODES} more` : '';
  return `${all.slice(0, NAMED_NODES).join(separator)}${more}`;
}
