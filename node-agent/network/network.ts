import type { Attachment, AttachmentKey } from '../../src/core/network/attachment.ts';
import type { AddressCounts } from '../../src/core/network/ipam.ts';
import type { Peer } from '../../src/core/network/peer-routes.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { Kernel } from '../linux/kernel/kernel.ts';
import type { AttachRequest } from './attachments/attachments.ts';
import type { LockOptions } from './attachments/shared-lock.ts';

export interface NetworkOptions {
  /** On tmpfs; the network keeps its records in `network` below it. */
  readonly stateDir: string;
  /**
   * Pod ranges: at least one of IPv4; pods get an IPv6 address too when there is a range for it.
   * Empty while unknown: pods wait for `configure`.
   */
  readonly ranges: readonly string[];
  /** `auto`: MTU of the link of the default route, read periodically. */
  readonly mtu?: 'auto' | number;
  /** Destinations that see a pod's own address instead of the node's. */
  readonly masqueradeExclusions?: readonly string[];
  /** Cooldown of a released address. */
  readonly cooldownMs?: number;
  /** Interval of leak detection; what two rounds in a row find is removed. */
  readonly collectEveryMs?: number;
  /** Interval of firewall checks. */
  readonly verifyEveryMs?: number;
  /** Interval of checks of the routes to other nodes. */
  readonly verifyRoutesEveryMs?: number;
}

/** Settings that may change while pods run. */
export interface NetworkSettings {
  /** As in NetworkOptions. Pods with an address of former ranges keep it. */
  readonly ranges: readonly string[];
  /** Other nodes, whose pods are routed to and see the addresses of this node's pods. */
  readonly peers: readonly Peer[];
  /** Destinations that see a pod's own address, besides those of the options. */
  readonly exclusions: readonly string[];
}

export interface NetworkDeps {
  readonly logger: Logger;
  /** Reads and changes links. Absent: a worker of the network's own. */
  readonly kernel?: Kernel;
  readonly clock?: Clock;
  /** IDs of the runtime's containers; undefined when it is unavailable. Absent: never available. */
  readonly containers?: () => Promise<ReadonlySet<string> | undefined>;
  /**
   * Called when `measure` has other strays or unreachable ranges, and when `status` begins or
   * ceases to throw. Must not throw.
   */
  readonly onStatus?: () => void;
}

export interface NetworkStatus {
  readonly attachments: number;
  /** Empty while the node has no ranges. */
  readonly addresses: readonly AddressCounts[];
  readonly mtu: number;
  readonly ranges: readonly string[];
  /** Attached pods with an address outside the current ranges. */
  readonly strays: readonly string[];
  /** Ranges of other nodes that are unreachable, and why. */
  readonly unreachable: readonly string[];
}

/** Operations on the attachments of this node. */
export interface AttachmentOperations {
  /**
   * Attaches a pod; see `Attachments.attach` for its faults. Undone when `signal` aborts before it
   * returns.
   */
  attach(request: AttachRequest, options?: LockOptions): Promise<Attachment>;
  /** Detaches it; also when the namespace, the link or the record no longer exists. */
  detach(key: AttachmentKey, options?: LockOptions): Promise<void>;
  /** Throws `precondition` when the interface differs from its record. */
  check(key: AttachmentKey, netns: string, options?: LockOptions): Promise<Attachment>;
  /**
   * Removes every attachment of `network` that `valid` does not list; continues after a failure and
   * then reports it.
   */
  gc(network: string, valid: readonly AttachmentKey[], options?: LockOptions): Promise<void>;
  list(): readonly Attachment[];
}

/** State and settings of the pod network. */
export interface NetworkControl {
  /** Throws `unavailable` when no pod can be attached for a reason that affects the whole node. */
  status(): NetworkStatus;
  /** As `status`, but never throws. */
  measure(): NetworkStatus;
  /**
   * Applies other settings; equal ones are left alone. Continues after a failure and then reports
   * it.
   */
  configure(settings: NetworkSettings): Promise<void>;
  /** Looks for leaks and checks the firewall table now, as the periodic work does. */
  maintain(): Promise<void>;
}

/**
 * The pod network of this node. Disposing stops the agent's work on it and leaves every pod
 * connected.
 */
export type Network = AttachmentOperations & NetworkControl & AsyncDisposable;
