import type { ClaimView } from '../claims/provision.ts';
import type { ProvisionState } from '../claims/provision-plan.ts';
import type { EventFacts, LeaderFacts, NodeFacts, PinnedVolume, PodFacts } from './facts.ts';

/** All that is known of a claim. */
export interface ClaimFacts {
  /** What the controller decides from. */
  readonly state: ProvisionState & { readonly claim: ClaimView };
  readonly phase: string;
  readonly ageSeconds: number;
  readonly finalizers: readonly string[];
  /** The class that it names, whoever provisions it; undefined when there is none. */
  readonly storageClass: { readonly provisioner: string; readonly canExpand: boolean } | undefined;
  /** Names of classes of ours. */
  readonly ourClasses: readonly string[];
  /** Its LocalVolume; `state.volume` has the rest of it. */
  readonly volume: VolumeFacts | undefined;
  /** The PersistentVolume that it names or is to be bound to. */
  readonly owner: OwnerFacts | undefined;
  readonly grantedBytes: bigint | undefined;
  /** Messages of the claim's own conditions. */
  readonly conditions: readonly string[];
  /** Pods that use it and are not over. */
  readonly pods: readonly PodFacts[];
  /** Nodes of other volumes of those pods. */
  readonly pinned: readonly PinnedVolume[];
  readonly nodes: readonly NodeFacts[];
  /** Claims that are being made from this one. */
  readonly clones: readonly string[];
  /** Newest first. */
  readonly events: readonly EventFacts[];
  readonly leader: LeaderFacts | undefined;
  /** What the asker may not read: nothing is concluded from its absence. */
  readonly blind: ReadonlySet<Blind>;
}

export type Blind = 'nodes' | 'classes' | 'owners' | 'volumes' | 'pods' | 'leases';

export interface VolumeFacts {
  readonly name: string;
  readonly ageSeconds: number;
  /** Its node's agent has said anything of it. */
  readonly isSeen: boolean;
  /** It starts as a copy, which an agent may need long for without a word. */
  readonly isCopy: boolean;
}

export interface OwnerFacts {
  readonly name: string;
  readonly phase: string;
  readonly isDeleting: boolean;
  readonly isOurs: boolean;
  readonly claim: string | undefined;
  readonly isForThisClaim: boolean;
  readonly nodeName: string | undefined;
}
