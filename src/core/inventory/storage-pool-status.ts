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

/** Keeps a StoragePool in the API for as long as volumes are in it. */
export const POOL_FINALIZER = 'keelson.dev/pool';

/** A node as far as one StoragePool goes. */
export interface PoolOnNode {
  readonly nodeName: string;
  readonly isSelected: boolean;
  /** What its agent says of the pool of that name; undefined for nothing. */
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

export interface PoolFindings {
  readonly generation: number;
  readonly isDeleting: boolean;
  readonly nodes: readonly PoolOnNode[];
}

/** How many nodes a condition names. */
const NAMED_NODES = 5;

/** The status to write, or undefined when `previous` says it all. */
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

/** Nodes that still have volumes of the pool, each with how many: a StoragePool that is deleted waits for them. */
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
      message: isSelected ? listed(reasons) : 'no node has the labels of nodeSelector',
    },
    {
      type: 'InUse',
      status: inUse.length > 0 ? 'True' : 'False',
      reason: inUse.length > 0 ? 'HasVolumes' : 'Empty',
      message:
        isDeleting && inUse.length > 0
          ? `it takes no new volumes, and goes when these are deleted: ${listed(inUse, ', ')}`
          : '',
    },
  ];
}

function describeLack(pool: PoolFacts | undefined): string {
  if (pool === undefined) return 'its agent does not have it yet';
  if (!isOurs(pool)) return "a pool of the node's own configuration file has this name, and wins";
  return pool.reason ?? 'its agent gives no reason';
}

function isOurs(pool: PoolFacts | undefined): pool is PoolFacts {
  return pool?.origin === 'api';
}

function listed(all: readonly string[], separator = '; '): string {
  const more = all.length > NAMED_NODES ? `${separator}and ${all.length - NAMED_NODES} more` : '';
  return `${all.slice(0, NAMED_NODES).join(separator)}${more}`;
}
