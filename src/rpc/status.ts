import { status } from '@grpc/grpc-js';
import type { Fault, FaultKind } from '../core/fault.ts';

/**
 * The gRPC status of each kind of fault. CSI uses ABORTED for an operation in flight on the same
 * volume.
 */
const STATUS_BY_KIND = {
  invalid: status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  conflict: status.ALREADY_EXISTS,
  busy: status.ABORTED,
  exhausted: status.RESOURCE_EXHAUSTED,
  'out-of-range': status.OUT_OF_RANGE,
  precondition: status.FAILED_PRECONDITION,
  unavailable: status.UNAVAILABLE,
  unsupported: status.UNIMPLEMENTED,
  denied: status.PERMISSION_DENIED,
  cancelled: status.CANCELLED,
  timeout: status.DEADLINE_EXCEEDED,
  bug: status.INTERNAL,
} as const satisfies Record<FaultKind, status>;

const KIND_BY_STATUS = new Map<status, FaultKind>(
  Object.entries(STATUS_BY_KIND).map(([kind, code]) => [code, kind as FaultKind]),
);

/** Returns the status code for `kind`. */
export function statusOfKind(kind: FaultKind): status {
  return STATUS_BY_KIND[kind];
}

/**
 * Returns the kind of fault for a peer's status code; UNKNOWN and codes that are never sent are
 * `bug`.
 */
export function kindOfStatus(code: status): FaultKind {
  return KIND_BY_STATUS.get(code) ?? 'bug';
}

/**
 * Returns the message for the peer: the fault's message, but only `callId` of an unclassified
 * error, which identifies it in the log.
 */
export function messageForPeer(fault: Fault, callId: string): string {
  return fault.kind === 'bug' ? `internal error; see call ${callId} in the log` : fault.message;
}
