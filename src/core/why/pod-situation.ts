import type { Explanation } from './explanation.ts';
import type { EventFacts, NodeFacts, PinnedVolume, PodFacts } from './facts.ts';

/** What is known of a pod. */
export interface PodSituation {
  readonly pod: PodFacts;
  readonly ageSeconds: number;
  /** Status reason and message of a failed pod: `Evicted`. */
  readonly failure: string | undefined;
  readonly isReady: boolean;
  readonly finalizers: readonly string[];
  readonly graceSeconds: number | undefined;
  readonly containers: readonly ContainerFacts[];
  /** Empty where nodes may not be read. */
  readonly nodes: readonly NodeFacts[];
  readonly pinned: readonly PinnedVolume[];
  readonly missingClaims: readonly string[];
  readonly claims: readonly ExplainedClaim[];
  /** Newest first. */
  readonly events: readonly EventFacts[];
}

/** State of one container. */
export interface ContainerFacts {
  readonly name: string;
  readonly image: string;
  readonly isInit: boolean;
  readonly restarts: number;
  readonly isReady: boolean;
  /** Why it does not run: `ImagePullBackOff`, `CrashLoopBackOff`. */
  readonly waiting: { readonly reason: string; readonly message: string } | undefined;
  /** How its last run ended. */
  readonly ended:
    | { readonly reason: string; readonly exitCode: number; readonly message: string }
    | undefined;
}

/** A claim of a pod, explained. */
export interface ExplainedClaim {
  readonly isBound: boolean;
  readonly explanation: Explanation;
}
