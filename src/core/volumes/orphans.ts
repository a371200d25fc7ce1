/** A volume, a snapshot or unrecorded data on a node without a reference in the API. */
export interface Orphan {
  readonly kind: 'volume' | 'snapshot' | 'data';
  readonly id: string;
  readonly pool: string;
  /** Absent for data. */
  readonly name?: string;
  /** The group snapshot that it is a member of; a group is removed as a whole. */
  readonly groupId?: string;
  /** Whether the volume is staged, or published to a workload or a node. */
  readonly isInUse: boolean;
}

/** The volumes, snapshots and unrecorded data of a node. */
export interface Findings {
  readonly volumes: readonly FoundVolume[];
  readonly snapshots: readonly FoundCopy[];
  /** Data without a record. */
  readonly orphans: readonly Pick<FoundCopy, 'id' | 'pool'>[];
}

interface FoundCopy {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly group?: { readonly id: string } | undefined;
}

interface FoundVolume extends FoundCopy {
  readonly ephemeral?: boolean | undefined;
  readonly staged: readonly string[];
  readonly published: readonly unknown[];
  readonly controllerPublication?: unknown;
}

/** References of the API to volumes and snapshots of a node, by name or by handle. */
export interface VolumeReferences {
  /** Names of volumes and snapshots. */
  readonly names: ReadonlySet<string>;
  /** CSI ids, including those of group snapshots. */
  readonly handles: ReadonlySet<string>;
}

/** The references on a node without a cluster. */
export const NO_REFERENCES: VolumeReferences = { names: new Set(), handles: new Set() };

/** Lists the orphans by id. Ephemeral volumes are not orphans: they are deleted with their pods. */
export function findOrphans(
  { volumes, snapshots, orphans }: Findings,
  { names, handles }: VolumeReferences,
): readonly Orphan[] {
  const isUnreferenced = ({ id, name, group }: FoundCopy): boolean =>
    !names.has(name) && !handles.has(id) && (group === undefined || !handles.has(group.id));
  const found = [
    ...volumes
      .filter((volume) => volume.ephemeral !== true && isUnreferenced(volume))
      .map(({ id, name, pool, staged, published, controllerPublication }): Orphan => {
        const isInUse = staged.length > 0 || published.length > 0 || controllerPublication !== undefined;
        return { kind: 'volume', id, pool, name, isInUse };
      }),
    ...snapshots
      .filter((snapshot) => isUnreferenced(snapshot))
      .map(
        ({ id, name, pool, group }): Orphan => ({
          kind: 'snapshot',
          ...{ id, pool, name, isInUse: false },
          ...(group === undefined ? {} : { groupId: group.id }),
        }),
      ),
    ...orphans
      .filter(({ id }) => !handles.has(id))
      .map(({ id, pool }): Orphan => ({ kind: 'data', id, pool, isInUse: false })),
  ];
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Describes an orphan for a log or a message. */
export function describeOrphan({ kind, id, name, pool }: Orphan): string {
  return kind === 'data' ? `data ${id} in pool ${pool}` : `${name ?? ''} (${id})`;
}

/** How long each orphan has been observed as one, in milliseconds, by id. */
export type OrphanAges = Readonly<Record<string, number>>;

/**
 * Adds `elapsedMs`, the time since the last observation, to the age of every orphan. An orphan that
 * is new, or in use, has age 0: only observed time counts.
 */
export function ageOrphans(orphans: readonly Orphan[], ages: OrphanAges, elapsedMs: number): OrphanAges {
  return Object.fromEntries(
    orphans
      .filter(({ isInUse }) => !isInUse)
      .map(({ id }) => {
        const before = Object.hasOwn(ages, id) ? ages[id] : undefined;
        return [id, before === undefined ? 0 : before + elapsedMs];
      }),
  );
}

/** Lists the orphans older than the grace period. A member of a group waits for all members. */
export function overdueOrphans(
  orphans: readonly Orphan[],
  ages: OrphanAges,
  graceMs: number,
): readonly Orphan[] {
  const isOver = ({ id, isInUse }: Orphan): boolean => !isInUse && (ages[id] ?? 0) >= graceMs;
  const waiting = new Set(
    orphans.filter((orphan) => !isOver(orphan)).flatMap(({ groupId }) => groupId ?? []),
  );
  return orphans.filter(
    (orphan) => isOver(orphan) && (orphan.groupId === undefined || !waiting.has(orphan.groupId)),
  );
}
