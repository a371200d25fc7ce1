/** Milliseconds in one unit of a `grpc-timeout` header (gRPC over HTTP/2, "Timeout"). */
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** Units of a deadline, finest first; a value has at most 8 digits. */
const UNITS = ['n', 'u', 'm', 'S', 'M', 'H'] as const;
const MAX_DIGITS_VALUE = 99_999_999;

/** Parses the timeout in milliseconds; undefined for an absent or invalid header. */
export function parseGrpcTimeout(header: string | undefined): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(header ?? '');
  const unitMs = UNIT_MS[match?.[2] ?? ''];
  return match?.[1] === undefined || unitMs === undefined ? undefined : Number(match[1]) * unitMs;
}

/** Formats `timeoutMs`, rounded down, in the finest unit that fits. */
export function formatGrpcTimeout(timeoutMs: number): string {
  for (const unit of UNITS) {
    const value = Math.floor(Math.max(0, timeoutMs) / (UNIT_MS[unit] ?? 1));
    if (value <= MAX_DIGITS_VALUE) return `${value}${unit}`;
  }
  return `${MAX_DIGITS_VALUE}H`;
}
