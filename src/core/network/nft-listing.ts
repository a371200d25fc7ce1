/**
 * Returns a text that is equal for equal `nft -j list table` listings: without handles and
 * versions, with elements of sets in one order.
 */
export function canonicalListing(listing: unknown): string {
  return JSON.stringify(normalise(listing, ''));
}

function normalise(value: unknown, key: string): unknown {
  if (Array.isArray(value)) {
    const items = value
      .filter((item) => !(isRecord(item) && 'metainfo' in item))
      .map((item) => normalise(item, ''));
    if (key !== 'elem') return items;
    return items.map((item) => JSON.stringify(item)).sort();
  }
  if (!isRecord(value)) return value;
  const fields = Object.entries(value).filter(([name]) => name !== 'handle');
  return Object.fromEntries(fields.sort(byName).map(([name, inner]) => [name, normalise(inner, name)]));
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
