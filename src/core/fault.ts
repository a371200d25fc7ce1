/**
 * Kinds of failures, which every edge translates: into a gRPC status, a CNI error, a Kubernetes
 * event or a line on a terminal. `docs/decisions/0002-one-fault-type.md` has the table.
 */
export type FaultKind =
  | 'invalid'
  | 'not-found'
  | 'conflict'
  | 'busy'
  | 'exhausted'
  | 'out-of-range'
  | 'precondition'
  | 'unavailable'
  | 'unsupported'
  | 'denied'
  | 'cancelled'
  | 'timeout'
  | 'bug';

/** Values safe to log and to show: never a secret, never a stack. */
export type FaultFields = Readonly<Record<string, string | number | boolean | bigint>>;

/** Fields and cause of a Fault. */
export interface FaultOptions {
  readonly fields?: FaultFields;
  readonly cause?: unknown;
}

/**
 * The only error that this project throws. `message` may be shown to a peer; `cause` is for logs
 * only.
 */
export class Fault extends Error {
  readonly kind: FaultKind;
  readonly fields: FaultFields;

  constructor(kind: FaultKind, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.kind = kind;
    this.fields = options.fields ?? {};
  }

  /**
   * Returns `error` itself if it is a Fault, else a Fault that classifies it by its code, never by
   * its text.
   */
  static from(error: unknown): Fault {
    if (error instanceof Fault) return error;
    if (error instanceof Error) {
      if (error.name === 'AbortError')
        return new Fault('cancelled', 'the operation was cancelled', { cause: error });
      if (error.name === 'TimeoutError')
        return new Fault('timeout', 'the operation timed out', { cause: error });
      const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
      const kind = code === undefined ? undefined : KIND_BY_ERRNO[code];
      if (kind !== undefined && code !== undefined) {
        return new Fault(kind, error.message, { fields: { errno: code }, cause: error });
      }
    }
    return new Fault('bug', 'internal error', { cause: error });
  }
}

/** Whether `error` is a Fault, and of `kind` if one is given. */
export function isFault(error: unknown, kind?: FaultKind): error is Fault {
  return error instanceof Fault && (kind === undefined || error.kind === kind);
}

const KIND_BY_ERRNO: Readonly<Record<string, FaultKind>> = {
  ENOENT: 'not-found',
  ENOTDIR: 'not-found',
  EEXIST: 'conflict',
  EBUSY: 'busy',
  ENOSPC: 'exhausted',
  EDQUOT: 'exhausted',
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'precondition',
  ENOTEMPTY: 'precondition',
  ECONNREFUSED: 'unavailable',
  ECONNRESET: 'unavailable',
  EPIPE: 'unavailable',
  ETIMEDOUT: 'timeout',
  ENOSYS: 'unsupported',
  EOPNOTSUPP: 'unsupported',
};
