import type { Socket } from 'node:net';
import type { GrpcCode } from '../../src/core/policies/cri-call.ts';
import type { PolicyOperation } from '../../src/core/policies/policy.ts';

/** Carries the calls of client connections to the runtime and back, whatever they hold. */
export interface Forwarder {
  /** Takes over an accepted connection, to its end. */
  accept(socket: Socket): void;
  /** Takes no more calls and resolves when those in flight are done, or were cut after `timeoutMs`. */
  drain(timeoutMs: number): Promise<void>;
}

export type Verdict =
  | { readonly kind: 'forward' }
  | { readonly kind: 'replace'; readonly request: Uint8Array }
  | { readonly kind: 'deny'; readonly code: GrpcCode; readonly message: string };

/** Decides on requests; synchronous and never throws. */
export interface Reviewer {
  /** Whether requests of this operation have to be seen at all; all others pass unread. */
  wants(operation: PolicyOperation): boolean;
  /** `request` is the message without its prefix; undefined when it could not be read, with the reason. */
  review(operation: PolicyOperation, request: Uint8Array | undefined, unreadable?: string): Verdict;
}

/** Told of every finished call. */
export interface CallObserver {
  started(path: string): void;
  /** `addedMs` is what the call took beyond the runtime's own time; undefined when it never got there. */
  finished(path: string, code: string, addedMs: number | undefined): void;
}
