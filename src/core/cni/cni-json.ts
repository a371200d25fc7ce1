/** A JSON object of unknown keys. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a value is a JSON object, not an array or null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Returns the value of a key in any case. Go reads keys case-insensitively, so runtimes written in
 * Go may send `HostPort` for `hostPort` (containerd's go-cni has no JSON tags). The exact key takes
 * precedence.
 */
export function anyCase(object: unknown, key: string): unknown {
  if (!isJsonObject(object)) return undefined;
  if (Object.hasOwn(object, key)) return object[key];
  const wanted = key.toLowerCase();
  return Object.entries(object).find(([name]) => name.toLowerCase() === wanted)?.[1];
}

/** Returns the items of an array; none for null and undefined, undefined for other values. */
export function items(value: unknown): readonly unknown[] | undefined {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? value : undefined;
}
