import type { Machine } from './machine.ts';
import type { Runtime } from './runtime.ts';

/** What Keelson's programs need of a node. */
export interface AgentNode {
  readonly name: string;
  readonly machine: Machine;
  readonly runtime: Runtime;
}

/**
 * Keelson's agents and its controller in one cluster, as processes of the machines or as the pods
 * that ship. Every operation can be repeated.
 */
export interface KeelsonPrograms {
  /** Whether nodes register with the taint that their agent takes away. */
  readonly startupTaint: boolean;
  /** Whether the agents make the routes between their nodes. */
  readonly routes: boolean;
  /** All that can be done on a node before there is an API server. */
  prepareNode(node: AgentNode, signal?: AbortSignal): Promise<void>;
  /** What the cluster has of Keelson, once there is an API server; nodes may still have to join. */
  install(signal?: AbortSignal): Promise<void>;
  /** Resolves when the agent of a node serves; `podRange` is the node's. */
  ensureAgent(node: AgentNode, podRange: string, signal?: AbortSignal): Promise<void>;
  /** SIGTERM for the agent, or SIGKILL with a grace of 0. It stays away until `ensureAgent`. */
  stopAgent(node: AgentNode, graceMs?: number): Promise<void>;
  /** SIGKILL for the agent of a node that works; resolves when the next one serves. */
  killAgent(node: AgentNode, podRange: string): Promise<void>;
  /** Starts the controller, if it does not run; what `install` makes is there. */
  startController(signal?: AbortSignal): Promise<void>;
  /**
   * SIGTERM for every controller, or SIGKILL with a grace of 0. None comes back until
   * `startController`.
   */
  stopController(graceMs?: number): Promise<void>;
  /**
   * SIGKILL for the controller that leads; resolves when another is on its way, and has its lease
   * where there is one.
   */
  killController(): Promise<void>;
  /** Resolves when there is a controller to work, where there shall be one. */
  untilControllerRuns(signal?: AbortSignal): Promise<void>;
  /** What the controllers that run have logged. */
  controllerLog(): Promise<string>;
}
