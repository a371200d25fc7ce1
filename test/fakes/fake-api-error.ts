export type Json = Record<string, unknown>;

/** A refusal of the API server. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly causes: readonly { readonly reason: string }[];
  readonly retryAfterSeconds: number | undefined;

  constructor(
    status: number,
    reason: string,
    message: string,
    more: {
      readonly causes?: readonly { readonly reason: string }[];
      readonly retryAfterSeconds?: number;
    } = {},
  ) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.causes = more.causes ?? [];
    this.retryAfterSeconds = more.retryAfterSeconds;
  }

  /** The metav1.Status that goes to the client. */
  toStatus(): Json {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      code: this.status,
      details: { causes: this.causes, retryAfterSeconds: this.retryAfterSeconds },
    };
  }
}
