/** Where a claim or pod stands, why, and what to do: the answer of `kubectl keelson why`. */
export interface Explanation {
  /** `claim team/data`, `pod team/web-0`. */
  readonly subject: string;
  readonly verdict: Verdict;
  /** One CamelCase word for scripts: `InsufficientCapacity`, `Cordoned`, `WaitForFirstConsumer`. */
  readonly reason: string;
  /** The one main reason, in a sentence. */
  readonly summary: string;
  /** The nodes that were considered; empty where no node is the matter. */
  readonly nodes: readonly ConsideredNode[];
  /** What else is known, most telling first. */
  readonly notes: readonly string[];
  /** What a person can do; empty where nothing need be done. */
  readonly advice: readonly string[];
}

/** `well`: nothing is wrong. `waits`: it goes on without help. `stuck`: somebody has to do something. */
export type Verdict = 'well' | 'waits' | 'stuck';

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

/** What the parts of an explanation have in common when nothing more is to be said. */
export const NOTHING_MORE = { nodes: [], notes: [], advice: [] } as const;
