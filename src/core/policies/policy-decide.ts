import { selects } from '../kube-text/label-selector.ts';
import {
  type CallFacts,
  type EntryChange,
  type Mutation,
  NO_MUTATION,
  type PodFacts,
  type RuntimePolicy,
} from './policy.ts';

/** What one policy does to a call. */
export interface PolicyEffect {
  readonly policy: string;
  readonly effect: 'mutate' | 'deny' | 'audit' | 'exempt';
  /** The effect is only reported. */
  readonly dryRun: boolean;
}

/** What all policies do to a call. */
export interface PolicyDecision {
  /** In the order of the policies. */
  readonly effects: readonly PolicyEffect[];
  /** The first enforced denial; its message names the policy, the pod and what to do. */
  readonly denial: { readonly policy: string; readonly message: string } | undefined;
  /**
   * Changes of all matching policies; the later one wins where two set the same key. Undefined for
   * none.
   */
  readonly mutation: Mutation | undefined;
  /** Matching enforced policies that must not be skipped when the mutation fails. */
  readonly mustApply: readonly string[];
}

/** Decides what the policies, in this order, do to one call. */
export function decide(policies: readonly RuntimePolicy[], facts: CallFacts): PolicyDecision {
  const effects: PolicyEffect[] = [];
  const mustApply: string[] = [];
  const system = isSystemPod(facts.pod);
  let denial: PolicyDecision['denial'];
  let mutation: Mutation | undefined;
  for (const policy of policies) {
    if (!matches(policy, facts)) continue;
    const report = (effect: PolicyEffect['effect']): void => {
      effects.push({ policy: policy.name, effect, dryRun: policy.dryRun });
    };
    if (policy.audit) report('audit');
    if (policy.deny !== undefined) {
      const exempt = system && !policy.deny.includeSystemPods;
      report(exempt ? 'exempt' : 'deny');
      if (!exempt && !policy.dryRun) {
        denial ??= { policy: policy.name, message: denialMessage(policy.name, policy.deny.message, facts) };
      }
    }
    if (policy.mutation !== undefined && changes(policy.mutation, facts)) {
      report('mutate');
      if (!policy.dryRun) {
        mutation = merge(mutation ?? NO_MUTATION, policy.mutation);
        if (policy.failurePolicy === 'Fail' && !system) mustApply.push(policy.name);
      }
    }
  }
  return { effects, denial, mutation, mustApply };
}

/**
 * Whether the pod is exempt: a pod in kube-system, or a static pod, which kubelet marks with its
 * source (it overwrites that annotation on every pod, so that users cannot forge it).
 */
export function isSystemPod(pod: PodFacts): boolean {
  const source = pod.annotations.get('kubernetes.io/config.source');
  return pod.namespace === 'kube-system' || (source !== undefined && source !== 'api');
}

/** Whether a policy matches the call. */
function matches({ match }: RuntimePolicy, { operation, pod, container }: CallFacts): boolean {
  if (!match.operations.includes(operation)) return false;
  if (match.namespaces !== undefined && !match.namespaces.some((glob) => globMatches(glob, pod.namespace))) {
    return false;
  }
  if (match.podSelector !== undefined && !selects(match.podSelector, pod.labels)) return false;
  if (match.images === undefined) return true;
  const images = container?.images ?? [];
  return match.images.some((glob) => images.some((image) => globMatches(glob, image)));
}

/**
 * `*` matches any text and `?` any character, slashes included. Linear in the text except for the
 * stars: a regular expression could blow up.
 */
export function globMatches(glob: string, text: string): boolean {
  let g = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (g < glob.length && glob[g] === '*') {
      star = g;
      resume = t;
      g += 1;
    } else if (g < glob.length && (glob[g] === '?' || glob[g] === text[t])) {
      g += 1;
      t += 1;
    } else if (star >= 0) {
      g = star + 1;
      resume += 1;
      t = resume;
    } else {
      return false;
    }
  }
  while (glob[g] === '*') g += 1;
  return g === glob.length;
}

/** Describes the pod of a call for messages and logs. */
export function podName({ namespace, name }: PodFacts): string {
  return `${namespace}/${name}`;
}

function denialMessage(policy: string, message: string, { pod, operation, container }: CallFacts): string {
  const what = container === undefined ? '' : `container ${container.name} of `;
  return `RuntimePolicy ${policy} denies ${operation} for ${what}pod ${podName(pod)}: ${message} (change the pod, or what the policy matches)`;
}

/** A sandbox has no variables and no resources to change. */
function changes(mutation: Mutation, { operation }: CallFacts): boolean {
  const entries =
    operation === 'CreateContainer'
      ? [mutation.env, mutation.labels, mutation.annotations]
      : [mutation.labels, mutation.annotations];
  const resources = operation === 'CreateContainer' && Object.keys(mutation.resources).length > 0;
  return resources || entries.some(({ set, remove }) => set.size + remove.size > 0);
}

function merge(earlier: Mutation, later: Mutation): Mutation {
  const unified = { ...earlier.resources.unified, ...later.resources.unified };
  const resources = { ...earlier.resources, ...later.resources };
  return {
    env: mergeEntries(earlier.env, later.env),
    labels: mergeEntries(earlier.labels, later.labels),
    annotations: mergeEntries(earlier.annotations, later.annotations),
    resources: Object.keys(unified).length === 0 ? resources : { ...resources, unified },
  };
}

function mergeEntries(earlier: EntryChange, later: EntryChange): EntryChange {
  const set = new Map([...earlier.set].filter(([key]) => !later.remove.has(key)));
  for (const [key, value] of later.set) set.set(key, value);
  const remove = new Set([...earlier.remove, ...later.remove].filter((key) => !set.has(key)));
  return { set, remove };
}
