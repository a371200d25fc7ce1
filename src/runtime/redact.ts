/**
 * Field names whose values never reach a log, at any depth. CSI marks its secrets with
 * `csi_secret`, CRI its credentials with `debug_redact`; `src/rpc/secret-fields.test.ts` compares
 * this list with the protos. Mount flags may contain passwords too (CSI, VolumeCapability).
 */
export const SECRET_FIELDS = [
  'secrets',
  'password',
  'auth',
  'identity_token',
  'registry_token',
  'token',
  'authorization',
  'mount_flags',
] as const;

const SECRET = new Set<string>(SECRET_FIELDS);

/** Deeper than any message; also ends cycles. */
const MAX_DEPTH = 24;

/**
 * Returns a copy of `fields` for a log: secret fields are censored, bytes (environment values,
 * command output) become their length. Plain objects and arrays are searched; other values, such as
 * errors, stay.
 */
export function withoutSecrets(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return censorObject(fields, 0);
}

function censorObject(object: Readonly<Record<string, unknown>>, depth: number): Record<string, unknown> {
  const censored: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) {
    censored[key] = SECRET.has(key) ? '[redacted]' : censor(value, depth + 1);
  }
  return censored;
}

function censor(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return `[${value.byteLength} bytes]`;
  if (depth > MAX_DEPTH) return '[too deep]';
  if (Array.isArray(value)) return value.map((item) => censor(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  return censorObject(value as Record<string, unknown>, depth);
}
