import type { Socket } from 'node:net';
import type { GrpcCode } from '../../src/core/policies/cri-call.ts';
import type { PolicyOperation } from '../../src/core/policies/policy.ts';

/** Forwards the calls of client connections to the runtime and back, whatever their content. */
export interface Forwarder {
  /** Takes over an accepted connection until it ends. */
  accept(socket: Socket): void;
  /**
   * Accepts no more calls and resolves when those in flight are done, or were ended after
   * `timeoutMs`.
   */
  drain(timeoutMs: number): Promise<void>;
}

export type Verdict =
  | { readonly kind: 'forward' }
  | { readonly kind: 'replace'; readonly request: Uint8Array }
  | { readonly kind: 'deny'; readonly code: GrpcCode; readonly message: string };

/** Decides on requests; synchronous and never throws. */
export interface Reviewer {
  /** Whether requests of this operation must be reviewed; all others pass unread. */
  wants(operation: PolicyOperation): boolean;
  /**
   * `request` is the message without its prefix; undefined when it could not be read, with the
   * reason.
   */
  review(operation: PolicyOperation, request: Uint8Array | undefined, unreadable?: string): Verdict;
}

/** Receives every finished call. */
export interface CallObserver {
  started(path: string): void;
  /**
   * `addedMs` is the time in addition to the runtime's own; undefined when the call did not reach
   * it.
   */
  finished(path: string, code: string, addedMs: number | undefined): void;
}
