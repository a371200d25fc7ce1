/** An acknowledgement to a caller, which must hold after any power cut. */
export type Acknowledged =
  /** A volume exists with at least this size. */
  | { readonly kind: 'volume'; readonly id: string; readonly bytes: number }
  /** Synced data is in a volume or snapshot. */
  | { readonly kind: 'data' | 'snapshot'; readonly id: string; readonly text: string }
  /** A group snapshot exists with all of these members, each acknowledged as a snapshot too. */
  | { readonly kind: 'group'; readonly id: string; readonly members: readonly string[] }
  /** The volume has this limit from here on. */
  | { readonly kind: 'limit'; readonly id: string; readonly readIOPS: number }
  /** It may exist or not from here on. */
  | { readonly kind: 'deleting'; readonly id: string }
  | { readonly kind: 'deleted'; readonly id: string };

/** The state that must exist after all acknowledgements. */
export interface Promised {
  /** Minimum size by volume. */
  readonly volumes: ReadonlyMap<string, number>;
  readonly snapshots: ReadonlySet<string>;
  /** Members by group. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
  /** Minimum `readIOPS` by volume; it is only ever raised. */
  readonly limits: ReadonlyMap<string, number>;
  /** Content by volume or snapshot. */
  readonly texts: ReadonlyMap<string, string>;
  readonly deleted: ReadonlySet<string>;
}

/** Parses the lines of the victim; a truncated last line was not acknowledged. */
export function readPromised(log: string): Promised {
  const volumes = new Map<string, number>();
  const texts = new Map<string, string>();
  const groups = new Map<string, readonly string[]>();
  const limits = new Map<string, number>();
  const [snapshots, deleted] = [new Set<string>(), new Set<string>()];
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
      if (said.kind === 'deleted') deleted.add(said.id);
    }
  }
  return { volumes, snapshots, groups, limits, texts, deleted };
}

/**
 * Returns what both acknowledge: what was being deleted later may be absent at the earlier moment.
 */
export function stillPromised(earlier: Promised, later: Promised): Promised {
  const kept = <T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
    new Map([...before].filter(([id]) => after.has(id)));
  return {
    deleted: earlier.deleted,
    volumes: kept(earlier.volumes, later.volumes),
    texts: kept(earlier.texts, later.texts),
    groups: kept(earlier.groups, later.groups),
    limits: kept(earlier.limits, later.limits),
    snapshots: new Set([...earlier.snapshots].filter((id) => later.snapshots.has(id))),
  };
}
