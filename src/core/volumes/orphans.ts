/** Something on the disks of a node that nobody asks for: a volume or a snapshot, or data of which there is no record. */
export interface Orphan {
  readonly kind: 'volume' | 'snapshot' | 'data';
  readonly id: string;
  readonly pool: string;
  /** Absent for data. */
  readonly name?: string;
  /** The group snapshot that it is a member of: all go, or none. */
  readonly groupId?: string;
  /** Whether a workload has it now. */
  readonly isInUse: boolean;
}

/** What there is on a node, as far as orphans go. */
export interface Findings {
  readonly volumes: readonly FoundVolume[];
  readonly snapshots: readonly FoundCopy[];
  /** Data that no record knows. */
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

/** What is asked for, by either. */
export interface AskedFor {
  /** Names of volumes and snapshots. */
  readonly names: ReadonlySet<string>;
  /** Their CSI ids, and those of group snapshots. */
  readonly handles: ReadonlySet<string>;
}

/** Where there is no API that could ask. */
export const NOTHING_ASKED_FOR: AskedFor = { names: new Set(), handles: new Set() };

/** In the order of their ids. Volumes of pods are no orphans: they go with their pods. */
export function findOrphans(
  { volumes, snapshots, orphans }: Findings,
  { names, handles }: AskedFor,
): readonly Orphan[] {
  const isUnasked = ({ id, name, group }: FoundCopy): boolean =>
    !names.has(name) && !handles.has(id) && (group === undefined || !handles.has(group.id));
  const found = [
    ...volumes
      .filter((volume) => volume.ephemeral !== true && isUnasked(volume))
      .map(({ id, name, pool, staged, published, controllerPublication }): Orphan => {
        const isInUse = staged.length > 0 || published.length > 0 || controllerPublication !== undefined;
        return { kind: 'volume', id, pool, name, isInUse };
      }),
    ...snapshots
      .filter((snapshot) => isUnasked(snapshot))
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

/** For people. */
export function describeOrphan({ kind, id, name, pool }: Orphan): string {
  return kind === 'data' ? `data ${id} in pool ${pool}` : `${name ?? ''} (${id})`;
}

/** For how long each orphan was seen to be one, in milliseconds by id. */
export type OrphanAges = Readonly<Record<string, number>>;

/**
 * All orphans a while later, `elapsedMs` after they were looked at last. What was not one meanwhile, or is in use, begins again: only time in
 * which somebody looked and found nobody who asked for it counts.
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

/** Those whose time of grace is over. A member of a group waits for all others. */
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
