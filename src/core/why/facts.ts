import type { NodeView, TopologyRequirement } from '../claims/provision.ts';
import type { PoolRequest } from '../claims/provision-placement.ts';
import type { Amounts } from './amount.ts';

/** A node, as scheduler and provisioner see it. */
export interface NodeFacts {
  readonly name: string;
  /** What the provisioner decides by. */
  readonly view: NodeView;
  readonly isCordoned: boolean;
  /** Why kubelet is not Ready; undefined when it is. */
  readonly notReady: string | undefined;
  readonly taints: readonly Taint[];
  /** Whether the driver is registered with kubelet; undefined where CSINodes may not be read. */
  readonly isRegistered: boolean | undefined;
  readonly agent: AgentFacts;
  /** The published capacity: bytes by StorageClass; undefined where capacities may not be read. */
  readonly published: ReadonlyMap<string, bigint> | undefined;
  readonly allocatable: Amounts;
  /** Requests of the node's pods; undefined where those may not be read. */
  readonly requested: Amounts | undefined;
  /** Host ports in use: `TCP/80`. */
  readonly usedPorts: readonly string[];
}

/** State of a node's agent. */
export interface AgentFacts {
  /** `unknown` where NodeInventories may not be read. */
  readonly state: 'serves' | 'does-not-serve' | 'never-reported' | 'unknown';
  readonly version: string | undefined;
  /** Why it is not serving. */
  readonly message: string | undefined;
}

/** A taint of a node. */
export interface Taint {
  readonly key: string;
  readonly value: string;
  readonly effect: string;
}

/** A toleration of a pod. */
export interface Toleration {
  readonly key: string | undefined;
  readonly operator: string | undefined;
  readonly value: string | undefined;
  readonly effect: string | undefined;
}

/** A requirement of a node selector. */
export interface SelectorRequirement {
  readonly key: string;
  readonly operator: string;
  readonly values: readonly string[];
}

/** A pod, with the fields that placing and starting it depend on. */
export interface PodFacts {
  readonly namespace: string;
  readonly name: string;
  readonly phase: string;
  readonly isDeleting: boolean;
  readonly nodeName: string | undefined;
  /** The scheduler's message about its last attempt. */
  readonly schedulerMessage: string | undefined;
  readonly gates: readonly string[];
  /** Claims in its namespace, including those of ephemeral volumes. */
  readonly claimNames: readonly string[];
  readonly tolerations: readonly Toleration[];
  readonly nodeSelector: Readonly<Record<string, string>>;
  /** Required node affinity: terms are alternatives; undefined for none. */
  readonly affinity: readonly (readonly SelectorRequirement[])[] | undefined;
  readonly requests: Amounts;
  readonly hostPorts: readonly string[];
  /** Rules about other pods, which are not evaluated here: `pod anti-affinity`. */
  readonly unweighed: readonly string[];
}

/** What a claim requires of a node. */
export interface VolumeNeed {
  readonly className: string;
  readonly sizeBytes: bigint;
  /** What class and claim require of a pool. */
  readonly poolRequest: PoolRequest;
  readonly waitsForConsumer: boolean;
  readonly allowedTopologies: readonly (readonly TopologyRequirement[])[];
}

/** An existing volume, which the pod must be scheduled to. */
export interface PinnedVolume {
  readonly claimName: string;
  readonly nodeNames: readonly string[];
}

/** An event; lists are newest first. */
export interface EventFacts {
  readonly isWarning: boolean;
  readonly reason: string;
  readonly note: string;
  readonly reporter: string;
  readonly ageSeconds: number;
  readonly count: number;
}

/** The controller's lease. */
export interface LeaderFacts {
  readonly holder: string;
  /** Seconds since the last renewal, by the local clock. */
  readonly silentSeconds: number;
  readonly leaseSeconds: number;
}
