import { Fault, type FaultKind, isFault } from '../core/fault.ts';

/** The part of metav1.Status that describes a failure. */
interface StatusBody {
  readonly message?: string;
  readonly reason?: string;
  readonly details?: {
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly {
      readonly reason?: string;
      readonly field?: string;
      readonly message?: string;
    }[];
  };
}

interface FailedResponse {
  /** E.g. `PUT /api/v1/nodes/n1`. */
  readonly request: string;
  readonly status: number;
  /** Response body: a Status if the API server itself responded. */
  readonly body: string;
  /** Retry-After in seconds; the API server sends no dates. */
  readonly retryAfter?: string | undefined;
}

/**
 * Returns a Fault for a failed response. Fields: `status`, `reason` (e.g. AlreadyExists) and
 * `retryAfterMs` if the server sent Retry-After.
 */
export function statusFault({ request, status, body, retryAfter }: FailedResponse): Fault {
  const parsed = parseStatus(body);
  const reason = parsed?.reason ?? '';
  const seconds = Number(retryAfter ?? parsed?.details?.retryAfterSeconds ?? Number.NaN);
  const text = parsed?.message ?? body.trim().slice(0, 300);
  return new Fault(kindOf(status, parsed), `${request}: API server returned ${status}: ${text}`, {
    fields: {
      status,
      ...(reason === '' ? {} : { reason }),
      ...(Number.isFinite(seconds) ? { retryAfterMs: seconds * 1_000 } : {}),
    },
  });
}

function kindOf(status: number, body: StatusBody | undefined): FaultKind {
  const causes = body?.details?.causes?.map((cause) => cause.reason) ?? [];
  switch (status) {
    case 409:
      // Re-reading resolves a stale resourceVersion, not an existing name or another field manager.
      return body?.reason === 'AlreadyExists' || causes.includes('FieldManagerConflict')
        ? 'conflict'
        : 'busy';
    case 403:
      return causes.includes('NamespaceTerminating') ? 'precondition' : 'denied';
    case 504:
      return 'timeout';
    default:
  }
  const known = KIND_BY_STATUS[status];
  if (known !== undefined) return known;
  return status >= 500 ? 'unavailable' : 'invalid';
}

const KIND_BY_STATUS: Readonly<Record<number, FaultKind>> = {
  401: 'denied',
  404: 'not-found',
  405: 'unsupported',
  406: 'unsupported',
  408: 'timeout',
  410: 'precondition',
  412: 'busy',
  415: 'unsupported',
  429: 'unavailable',
};

function parseStatus(body: string): StatusBody | undefined {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value !== 'object' || value === null || !('kind' in value)) return undefined;
    return value.kind === 'Status' ? (value as StatusBody) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the requested resource version or list page has expired: list again. */
export function isExpired(error: unknown): boolean {
  return isFault(error) && error.fields['status'] === 410;
}

/** Whether the server rejected the credentials. */
export function isUnauthorized(error: unknown): boolean {
  return isFault(error) && error.fields['status'] === 401;
}

/** Returns Retry-After in ms, if the server sent it. */
export function retryAfterMs(error: unknown): number | undefined {
  const value = isFault(error) ? error.fields['retryAfterMs'] : undefined;
  return typeof value === 'number' ? value : undefined;
}
