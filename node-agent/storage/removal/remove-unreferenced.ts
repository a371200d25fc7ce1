import { Fault } from '../../../src/core/fault.ts';
import {
  type AskedFor,
  type Findings,
  findOrphans,
  NOTHING_ASKED_FOR,
  type Orphan,
} from '../../../src/core/volumes/orphans.ts';

/** What the removal of orphans needs of the storage service. */
export interface OrphanStorage {
  report(): Promise<Findings>;
  deleteVolume(id: string): Promise<void>;
  deleteSnapshot(id: string): Promise<void>;
  deleteGroup(id: string, snapshotIds: readonly string[]): Promise<void>;
  removeUnrecorded(pool: string, id: string): Promise<void>;
}

/** A member of a group goes with the whole group. */
export async function removeOrphan(
  { kind, id, pool, groupId }: Orphan,
  storage: Omit<OrphanStorage, 'report'>,
): Promise<void> {
  if (kind === 'data') await storage.removeUnrecorded(pool, id);
  else if (kind === 'volume') await storage.deleteVolume(id);
  else if (groupId === undefined) await storage.deleteSnapshot(id);
  else await storage.deleteGroup(groupId, []);
}

/**
 * Removes a volume, a snapshot, a group snapshot or data without a record, by its id, because somebody says so. Throws `not-found` for what is
 * not there, and `precondition` for what is asked for or in use.
 */
export async function removeUnasked(
  id: string,
  { storage, asked }: { readonly storage: OrphanStorage; readonly asked: AskedFor },
): Promise<readonly Orphan[]> {
  const report = await storage.report();
  const all = select(report, id, NOTHING_ASKED_FOR);
  const orphans = select(report, id, asked);
  if (all.length === 0) {
    throw new Fault(
      'not-found',
      `there is no volume, snapshot or data with the id ${id.slice(0, 128)} on this node`,
    );
  }
  const [wanted] = all.filter((one) => !orphans.some((orphan) => orphan.id === one.id));
  if (wanted !== undefined) {
    throw new Fault(
      'precondition',
      `LocalVolume ${wanted.name ?? ''} asks for ${wanted.id}; delete the claim or the VolumeSnapshot that it was made for`,
    );
  }
  const [first, ...others] = orphans;
  if (first === undefined) return [];
  if (first.groupId !== undefined && first.groupId !== id) {
    throw new Fault('precondition', `${id} is a member of group snapshot ${first.groupId}; delete that one`);
  }
  if (first.isInUse) throw new Fault('precondition', `volume ${id} is in use; see keelson status`);
  await removeOrphan(first, storage);
  return [first, ...others];
}

function select(findings: Findings, id: string, asked: AskedFor): readonly Orphan[] {
  return findOrphans(findings, asked).filter((orphan) => orphan.id === id || orphan.groupId === id);
}
