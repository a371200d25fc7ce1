import { type DesiredNodeState, type Overruled, type Resolution, taintId } from './label-resolve.ts';
import type { RuleTaint } from './label-rule.ts';

/** Any taint of a node; other writers' taints may have more fields. */
interface NodeTaint {
  readonly key: string;
  readonly value?: string | undefined;
  readonly effect: string;
}

/** A node as rules read it. */
export interface NodeState {
  readonly labels: Readonly<Record<string, string>>;
  readonly ownedLabels: ReadonlySet<string>;
  readonly taints: readonly NodeTaint[];
  /** Ids of the taints that rules own. */
  readonly ownedTaints: ReadonlySet<string>;
  /** Extended resources as kubelet reads them. */
  readonly capacity: Readonly<Record<string, string>>;
  readonly ownedResources: ReadonlySet<string>;
}

/**
 * The writes that a node needs; each is the complete owned state, or undefined where nothing
 * changed.
 */
export interface NodeLabelPlan {
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly taints: { readonly all: readonly NodeTaint[]; readonly owned: readonly string[] } | undefined;
  readonly resources: Readonly<Record<string, string>> | undefined;
  /** What another writer has set to another value, which stays. */
  readonly foreign: readonly Overruled[];
}

/** Returns what rules own on a node. */
export function ownedOf(state: NodeState): DesiredNodeState {
  return {
    labels: new Map(Object.entries(state.labels).filter(([key]) => state.ownedLabels.has(key))),
    taints: new Map(
      state.taints
        .filter((taint) => state.ownedTaints.has(taintId(taint as RuleTaint)))
        .map((taint) => [taintId(taint as RuleTaint), taint as RuleTaint]),
    ),
    resources: new Map(
      Object.entries(state.capacity)
        .filter(([name]) => state.ownedResources.has(name))
        .map(([name, quantity]) => [name, Number(quantity)]),
    ),
  };
}

/**
 * Returns the writes that give a node its desired state. Values of other writers are neither
 * changed nor taken over.
 */
export function planNode(
  state: NodeState,
  { desired, askedBy }: Pick<Resolution, 'desired' | 'askedBy'>,
): NodeLabelPlan {
  const owned = ownedOf(state);
  const foreign: Overruled[] = [];
  const leave = (id: string, found: string, wanted: string): void => {
    const rule = askedBy.get(id);
    if (rule === undefined || found === wanted) return;
    foreign.push({ rule, message: `${id}: another writer has set it to ${JSON.stringify(found)}` });
  };
  const labels: Record<string, string> = {};
  for (const [key, value] of desired.labels) {
    const found = state.labels[key];
    if (found === undefined || state.ownedLabels.has(key)) labels[key] = value;
    else leave(`label ${key}`, found, value);
  }
  const resources: Record<string, string> = {};
  for (const [name, count] of desired.resources) {
    const found = state.capacity[name];
    // A kubelet that lost its state sets every extended resource to 0, and expects the owner to set
    // it again.
    if (found === undefined || found === '0' || state.ownedResources.has(name))
      resources[name] = String(count);
    else leave(`resource ${name}`, found, String(count));
  }
  return {
    labels: isSame(labels, state.ownedLabels, state.labels) ? undefined : labels,
    taints: planTaints(state, owned, desired, leave),
    resources: isSame(resources, state.ownedResources, state.capacity) ? undefined : resources,
    foreign,
  };
}

function planTaints(
  state: NodeState,
  owned: DesiredNodeState,
  { taints: wanted }: DesiredNodeState,
  leave: (id: string, found: string, wanted: string) => void,
): NodeLabelPlan['taints'] {
  const found = new Map(state.taints.map((taint) => [taintId(taint as RuleTaint), taint]));
  const ours = new Map<string, RuleTaint>();
  for (const [id, taint] of wanted) {
    const other = owned.taints.has(id) ? undefined : found.get(id);
    if (other === undefined) ours.set(id, taint);
    else leave(`taint ${id}`, other.value ?? '', taint.value ?? '');
  }
  const all: NodeTaint[] = [];
  for (const [id, taint] of found) {
    const stays = owned.taints.has(id) ? sameValue(ours.get(id), taint) : true;
    if (stays) all.push(taint);
  }
  const there = new Set(all.map((taint) => taintId(taint as RuleTaint)));
  for (const [id, taint] of ours) if (!there.has(id)) all.push(taint);
  const ids = [...ours.keys()].sort();
  const sameTaints = all.length === state.taints.length && all.every((taint, i) => taint === state.taints[i]);
  const sameOwners = ids.length === state.ownedTaints.size && ids.every((id) => state.ownedTaints.has(id));
  return sameTaints && sameOwners ? undefined : { all, owned: ids };
}

function sameValue(desired: RuleTaint | undefined, found: NodeTaint): boolean {
  return desired !== undefined && (desired.value ?? '') === (found.value ?? '');
}

function isSame(
  wanted: Readonly<Record<string, string>>,
  owned: ReadonlySet<string>,
  found: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(wanted);
  return keys.length === owned.size && keys.every((key) => owned.has(key) && found[key] === wanted[key]);
}
