/** What a caller was told; it has to be so after any power cut. */
export type Acknowledged =
  /** A volume is there, with at least this size. */
  | { readonly kind: 'volume'; readonly id: string; readonly bytes: number }
  /** Synced data is in a volume, or in a snapshot. */
  | { readonly kind: 'data' | 'snapshot'; readonly id: string; readonly text: string }
  /** A group snapshot is there, with all of these. Each is told of as a snapshot too. */
  | { readonly kind: 'group'; readonly id: string; readonly members: readonly string[] }
  /** From here on this limit holds for a volume. */
  | { readonly kind: 'limit'; readonly id: string; readonly readIOPS: number }
  /** From here on it may be there or not. */
  | { readonly kind: 'deleting'; readonly id: string }
  | { readonly kind: 'gone'; readonly id: string };

/** What has to be there after all this was acknowledged. */
export interface Promised {
  /** Least size by volume. */
  readonly volumes: ReadonlyMap<string, number>;
  readonly snapshots: ReadonlySet<string>;
  /** Members by group. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
  /** Least `readIOPS` by volume; it is only ever raised. */
  readonly limits: ReadonlyMap<string, number>;
  /** Content by volume or snapshot. */
  readonly texts: ReadonlyMap<string, string>;
  readonly gone: ReadonlySet<string>;
}

/** Reads lines as the victim writes them; a last one that is cut off was not said. */
export function readPromised(log: string): Promised {
  const volumes = new Map<string, number>();
  const texts = new Map<string, string>();
  const groups = new Map<string, readonly string[]>();
  const limits = new Map<string, number>();
  const [snapshots, gone] = [new Set<string>(), new Set<string>()];
  for (const line of log.split('\n').slice(0, -1)) {
    const said = JSON.parse(line) as Acknowledged;
    if (said.kind === 'volume') volumes.set(said.id, said.bytes);
    else if (said.kind === 'data') texts.set(said.id, said.text);
    else if (said.kind === 'group') groups.set(said.id, said.members);
    else if (said.kind === 'limit') limits.set(said.id, said.readIOPS);
    else if (said.kind === 'snapshot') {
      snapshots.add(said.id);
      texts.set(said.id, said.text);
    } else {
      for (const held of [volumes, texts, snapshots, groups, limits]) held.delete(said.id);
      if (said.kind === 'gone') gone.add(said.id);
    }
  }
  return { volumes, snapshots, groups, limits, texts, gone };
}

/**
 * What is promised in both: what is half-deleted later may be gone already at the moment of the
 * earlier one.
 */
export function promisedStill(earlier: Promised, later: Promised): Promised {
  const kept = <T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
    new Map([...before].filter(([id]) => after.has(id)));
  return {
    gone: earlier.gone,
    volumes: kept(earlier.volumes, later.volumes),
    texts: kept(earlier.texts, later.texts),
    groups: kept(earlier.groups, later.groups),
    limits: kept(earlier.limits, later.limits),
    snapshots: new Set([...earlier.snapshots].filter((id) => later.snapshots.has(id))),
  };
}
