/** What a caller was told; it has to be so after any power cut. */
export type Acknowledged =
  /** A volume is there, with at least this size. */
  | { readonly kind: 'volume'; readonly id: string; readonly bytes: number }
  /** Synced data is in a volume, or in a snapshot. */
  | { readonly kind: 'data' | 'snapshot'; readonly id: string; readonly text: string }
  /** From here on it may be there or not. */
  | { readonly kind: 'deleting'; readonly id: string }
  | { readonly kind: 'gone'; readonly id: string };

/** What has to be there after all this was acknowledged. */
export interface Promised {
  /** Least size by volume. */
  readonly volumes: ReadonlyMap<string, number>;
  readonly snapshots: ReadonlySet<string>;
  /** Content by volume or snapshot. */
  readonly texts: ReadonlyMap<string, string>;
  readonly gone: ReadonlySet<string>;
}

/** Reads lines as the victim writes them; a last one that is cut off was not said. */
export function readPromised(log: string): Promised {
  const volumes = new Map<string, number>();
  const texts = new Map<string, string>();
  const [snapshots, gone] = [new Set<string>(), new Set<string>()];
  for (const line of log.split('\n').slice(0, -1)) {
    const said = JSON.parse(line) as Acknowledged;
    if (said.kind === 'volume') volumes.set(said.id, said.bytes);
    else if (said.kind === 'data') texts.set(said.id, said.text);
    else if (said.kind === 'snapshot') {
      snapshots.add(said.id);
      texts.set(said.id, said.text);
    } else {
      for (const held of [volumes, texts, snapshots]) held.delete(said.id);
      if (said.kind === 'gone') gone.add(said.id);
    }
  }
  return { volumes, snapshots, texts, gone };
}
