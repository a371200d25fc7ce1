import type { ClaimView } from '../claims/provision.ts';
import type { ProvisionState } from '../claims/provision-plan.ts';
import type { EventFacts, LeaderFacts, NodeFacts, PinnedVolume, PodFacts } from './facts.ts';

/** What is known of a claim. */
export interface ClaimFacts {
  /** What the controller decides from. */
  readonly state: ProvisionState & { readonly claim: ClaimView };
  readonly phase: string;
  readonly ageSeconds: number;
  readonly finalizers: readonly string[];
  /** Its class, of any provisioner; undefined when it does not exist. */
  readonly storageClass: { readonly provisioner: string; readonly canExpand: boolean } | undefined;
  /** Names of Keelson's classes. */
  readonly ourClasses: readonly string[];
  /** Its LocalVolume; `state.volume` has the rest of it. */
  readonly volume: VolumeFacts | undefined;
  /** The PersistentVolume that it refers to, or that is to be bound to it. */
  readonly owner: OwnerFacts | undefined;
  readonly grantedBytes: bigint | undefined;
  /** Messages of the claim's conditions. */
  readonly conditions: readonly string[];
  /** Pods that use it and have not terminated. */
  readonly pods: readonly PodFacts[];
  /** Nodes of other volumes of those pods. */
  readonly pinned: readonly PinnedVolume[];
  readonly nodes: readonly NodeFacts[];
  /** Claims that are being cloned from this one. */
  readonly clones: readonly string[];
  /** Newest first. */
  readonly events: readonly EventFacts[];
  readonly leader: LeaderFacts | undefined;
  /** What the user may not read: its absence proves nothing. */
  readonly blind: ReadonlySet<Blind>;
}

/** Kinds of objects that the user may not read. */
export type Blind = 'nodes' | 'classes' | 'owners' | 'volumes' | 'pods' | 'leases';

interface VolumeFacts {
  readonly name: string;
  readonly ageSeconds: number;
  /** The agent of its node has reported on it. */
  readonly isSeen: boolean;
  /** It is a copy, which an agent may take long to create. */
  readonly isCopy: boolean;
}

/** The PersistentVolume of a claim. */
export interface OwnerFacts {
  readonly name: string;
  readonly phase: string;
  readonly isDeleting: boolean;
  readonly isOurs: boolean;
  readonly claim: string | undefined;
  readonly isForThisClaim: boolean;
  readonly nodeName: string | undefined;
}
