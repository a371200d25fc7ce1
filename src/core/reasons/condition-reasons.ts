import type { FaultKind } from '../fault.ts';

/**
 * Reasons of the conditions that Keelson writes, with what each means. The documentation lists them
 * from here.
 */
export const CONDITION_REASONS = {
  Serving: 'NodeInventory Ready: the agent serves volumes and pods.',
  NotServing: 'NodeInventory Ready: the agent cannot serve; the message says why.',
  AgentUnresponsive: 'NodeInventory Ready: the agent stopped reporting; the inventory is outdated.',
  AllSourcesRead: 'NodeInventory Discovered: every source of facts was read.',
  SourceFailed: 'NodeInventory Discovered: a source of facts failed; its last facts are kept.',
  NoLocalVolume: 'NodeInventory OrphanedVolumes: volumes on the node have no LocalVolume.',
  None: 'NodeInventory: nothing to report.',
  RoutesInstalled: 'NodeInventory PeersReachable: the node has a route to the pods of every peer.',
  NoRoute: 'NodeInventory PeersReachable: the node has no route to the pods of some peers.',
  RangesChanged: 'NodeInventory FormerAddresses: pods have addresses of former pod ranges.',
  OnAllNodes: 'StoragePool Ready: every selected node has the pool.',
  NotOnAllNodes: 'StoragePool Ready: some selected nodes lack the pool; the message lists them.',
  NoNodeSelected: 'StoragePool Ready: no node has the labels of nodeSelector.',
  Deleting: 'StoragePool Ready: the pool is being deleted.',
  HasVolumes: 'StoragePool InUse: volumes exist; a deleted pool waits for them.',
  Empty: 'StoragePool InUse: the pool has no volumes.',
  Created: 'LocalVolume Ready: the volume exists.',
  AsRequested: 'LocalVolume Sized, Modified: the volume has the requested size or parameters.',
  FilesystemSmaller: 'LocalVolume NodeExpansionRequired: the file system is smaller than the volume.',
  NodeLost: 'LocalVolume Reachable: the node no longer exists.',
  VolumeLost: 'LocalVolume Reachable: the node no longer has the data.',
  VolumeReleased: 'LocalVolume Reachable: an administrator released the data.',
  ReleaseRefused: 'LocalVolume Reachable: a release was refused, because the node is Ready.',
  Retained: 'LocalVolume Owned: the PersistentVolume was deleted; the data is kept.',
  Enforced: 'RuntimePolicy Ready: every CRI proxy applies the policy.',
  Refused: 'RuntimePolicy Ready: a CRI proxy refused the policy; the message says why.',
  Pending: 'RuntimePolicy Ready: some CRI proxies do not apply the policy yet.',
  ProxyNotRunning: 'RuntimePolicy Ready: no node has a CRI proxy.',
  Valid: 'NodeLabelRule Valid: the rule compiles.',
  Applied: 'NodeLabelRule Applied: every matching node has what the rule grants.',
  Failed: 'NodeLabelRule Applied: the rule fails on some nodes; what it applied there stays.',
  Conflict: 'NodeLabelRule Applied: another field manager owns what the rule grants.',
  Invalid: 'NodeLabelRule Valid, Applied: the rule does not compile; the message says why.',
} as const;

/** A documented condition reason. */
export type ConditionReason = keyof typeof CONDITION_REASONS;

type Capitalized<S extends string> = S extends `${infer First}-${infer Rest}`
  ? `${Capitalize<First>}${Capitalized<Rest>}`
  : Capitalize<S>;

/** The kind of a fault as a condition reason: `not-found` is NotFound. */
export type FaultReason = Capitalized<FaultKind>;
