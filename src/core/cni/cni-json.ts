/** A JSON object of unknown keys. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The value of a key in any case. Runtimes written in Go send `HostPort` for `hostPort`, since Go reads keys case-insensitively
 * (containerd's go-cni has no JSON tags). The exact key wins.
 */
export function anyCase(object: unknown, key: string): unknown {
  if (!isJsonObject(object)) return undefined;
  if (Object.hasOwn(object, key)) return object[key];
  const wanted = key.toLowerCase();
  return Object.entries(object).find(([name]) => name.toLowerCase() === wanted)?.[1];
}

/** The items of an array; nothing for null and undefined, and undefined for everything else. */
export function items(value: unknown): readonly unknown[] | undefined {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? value : undefined;
}
