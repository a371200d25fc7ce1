/** The state of a claim or pod, why, and what to do: the answer of `kubectl keelson why`. */
export interface Explanation {
  /** `claim team/data`, `pod team/web-0`. */
  readonly subject: string;
  readonly verdict: Verdict;
  /** One CamelCase word for scripts: `InsufficientCapacity`, `Cordoned`, `WaitForFirstConsumer`. */
  readonly reason: string;
  /** The main reason, in one sentence. */
  readonly summary: string;
  /** The nodes that were considered; empty where the reason does not depend on nodes. */
  readonly nodes: readonly ConsideredNode[];
  /** What else is known, most relevant first. */
  readonly notes: readonly string[];
  /** What the user can do; empty where nothing has to be done. */
  readonly advice: readonly string[];
}

/** `well`: no problem. `waits`: it proceeds without help. `stuck`: it needs help. */
export type Verdict = 'well' | 'waits' | 'stuck';

/** A node and what it lacks. */
export interface ConsideredNode {
  readonly name: string;
  /** Empty when the node can take it. */
  readonly lacks: readonly Lack[];
}

/** One thing that a node lacks for a pod or a volume. */
export interface Lack {
  readonly code: LackCode;
  readonly text: string;
}

/** Why a node is unsuitable, as a CamelCase word. */
export type LackCode =
  | 'Cordoned'
  | 'NodeNotReady'
  | 'AgentNotReady'
  | 'NoAgent'
  | 'NotRegistered'
  | 'VolumeOnOtherNode'
  | 'Topology'
  | 'NodeSelector'
  | 'Taint'
  | 'NoPool'
  | 'PoolIncompatible'
  | 'PoolNotReady'
  | 'InsufficientCapacity'
  | 'NotPublished'
  | 'Resources'
  | 'HostPort';

/** Defaults for the parts of an explanation. */
export const NOTHING_MORE = { nodes: [], notes: [], advice: [] } as const;
