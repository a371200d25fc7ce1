/**
 * The calls that a policy may affect. Stop*, Remove* and others are never inspected: it must always
 * be possible to drain a node.
 */
export const POLICY_OPERATIONS = ['CreateContainer', 'RunPodSandbox'] as const;
/** A CRI call that policies may affect. */
export type PolicyOperation = (typeof POLICY_OPERATIONS)[number];

/** What is known of one call. Texts are for matching and messages only. */
export interface CallFacts {
  readonly operation: PolicyOperation;
  readonly pod: PodFacts;
  readonly container: ContainerFacts | undefined;
}

/** The pod of a call. */
export interface PodFacts {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
}

interface ContainerFacts {
  readonly name: string;
  /** The image as the pod names it, and as kubelet resolved it. */
  readonly images: readonly string[];
}

/** Entries to set, and keys to remove; the two are disjoint. */
export interface EntryChange {
  readonly set: ReadonlyMap<string, string>;
  readonly remove: ReadonlySet<string>;
}

/** Resource limits to set; absent ones stay. */
export interface ResourceChange {
  /** Microseconds. */
  readonly cpuPeriod?: bigint;
  /** Microseconds per period; -1 for no limit. */
  readonly cpuQuota?: bigint;
  readonly cpuShares?: bigint;
  readonly memoryLimitBytes?: bigint;
  /** Memory and swap together; -1 for no limit. */
  readonly memorySwapLimitBytes?: bigint;
  readonly oomScoreAdj?: bigint;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  /** Files of cgroup v2. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** All changes to one request. */
export interface Mutation {
  readonly env: EntryChange;
  readonly labels: EntryChange;
  readonly annotations: EntryChange;
  readonly resources: ResourceChange;
}

/** A label selector of a policy. */
export interface Selector {
  readonly matchLabels: Readonly<Record<string, string>>;
  readonly matchExpressions: readonly {
    readonly key: string;
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
    readonly values: readonly string[];
  }[];
}

/** Identifies the version of the API object that a policy comes from. */
export interface PolicyOrigin {
  readonly uid: string;
  readonly generation: number;
}

/** One RuntimePolicy, validated and with its defaults. */
export interface RuntimePolicy {
  readonly name: string;
  /** Absent for a policy from a file. */
  readonly origin?: PolicyOrigin;
  readonly match: {
    readonly operations: readonly PolicyOperation[];
    /** Names, or patterns with `*`; undefined matches all. */
    readonly namespaces: readonly string[] | undefined;
    readonly podSelector: Selector | undefined;
    /** Patterns with `*` and `?`; undefined matches all. */
    readonly images: readonly string[] | undefined;
  };
  readonly mutation: Mutation | undefined;
  readonly deny: { readonly message: string; readonly includeSystemPods: boolean } | undefined;
  readonly audit: boolean;
  /** What happens to a call when the policy cannot be applied. */
  readonly failurePolicy: 'Ignore' | 'Fail';
  /** Effects are logged and counted, but not applied. */
  readonly dryRun: boolean;
}

const NO_ENTRIES: EntryChange = { set: new Map(), remove: new Set() };
/** The mutation that changes nothing. */
export const NO_MUTATION: Mutation = {
  env: NO_ENTRIES,
  labels: NO_ENTRIES,
  annotations: NO_ENTRIES,
  resources: {},
};
