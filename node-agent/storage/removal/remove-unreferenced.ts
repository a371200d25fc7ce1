import { Fault } from '../../../src/core/fault.ts';
import {
  type Findings,
  findOrphans,
  NO_REFERENCES,
  type Orphan,
  type VolumeReferences,
} from '../../../src/core/volumes/orphans.ts';

/** The storage services that the removal of orphans needs. */
export interface OrphanStorage {
  readonly volumes: { delete(id: string): Promise<void> };
  readonly snapshots: { delete(id: string): Promise<void> };
  readonly groups: { delete(id: string, snapshotIds: readonly string[]): Promise<void> };
  readonly pools: { removeUnrecorded(pool: string, id: string): Promise<void> };
  readonly health: { report(): Promise<Findings> };
}

/** Removes an orphan; a member of a group snapshot with its whole group. */
export async function removeOrphan(
  { kind, id, pool, groupId }: Orphan,
  storage: Omit<OrphanStorage, 'health'>,
): Promise<void> {
  if (kind === 'data') await storage.pools.removeUnrecorded(pool, id);
  else if (kind === 'volume') await storage.volumes.delete(id);
  else if (groupId === undefined) await storage.snapshots.delete(id);
  else await storage.groups.delete(groupId, []);
}

/**
 * Removes a volume, a snapshot, a group snapshot or unrecorded data by id, for an administrator.
 * Returns what was removed. Throws `not-found` for an unknown id, `precondition` for an id that is
 * referenced or in use.
 */
export async function removeUnreferenced(
  id: string,
  { storage, references }: { readonly storage: OrphanStorage; readonly references: VolumeReferences },
): Promise<readonly Orphan[]> {
  const report = await storage.health.report();
  const all = select(report, id, NO_REFERENCES);
  const orphans = select(report, id, references);
  if (all.length === 0) {
    throw new Fault('not-found', `volume, snapshot or data ${id.slice(0, 128)} does not exist on this node`);
  }
  const [referenced] = all.filter((one) => !orphans.some((orphan) => orphan.id === one.id));
  if (referenced !== undefined) {
    throw new Fault(
      'precondition',
      `${referenced.id} belongs to LocalVolume ${referenced.name ?? ''}; delete its claim or its VolumeSnapshot`,
    );
  }
  const [first, ...others] = orphans;
  if (first === undefined) return [];
  if (first.groupId !== undefined && first.groupId !== id) {
    throw new Fault(
      'precondition',
      `${id} is a member of group snapshot ${first.groupId}; delete the group snapshot`,
    );
  }
  if (first.isInUse) throw new Fault('precondition', `volume ${id} is in use; see keelson status`);
  await removeOrphan(first, storage);
  return [first, ...others];
}

function select(findings: Findings, id: string, references: VolumeReferences): readonly Orphan[] {
  return findOrphans(findings, references).filter((orphan) => orphan.id === id || orphan.groupId === id);
}
