import { Fault } from '../../src/core/fault.ts';
import { type VolumeReferences, describeOrphan } from '../../src/core/volumes/orphans.ts';
import type { AdminRoute } from '../../src/runtime/admin-server.ts';
import { type OrphanStorage, removeUnreferenced } from '../storage/removal/remove-unreferenced.ts';

/** Serves `keelson volume delete` on the admin socket. */
export function createVolumeDeleteRoute({
  storage,
  references,
}: {
  /** Undefined until pools are open. */
  readonly storage: () => OrphanStorage | undefined;
  /** The API's references to volumes; undefined while they are unknown. */
  readonly references: () => VolumeReferences | undefined;
}): AdminRoute {
  return {
    async post({ query }) {
      const id = query.get('id') ?? '';
      if (id === '') throw new Fault('invalid', 'id is missing');
      const opened = storage();
      if (opened === undefined) {
        throw new Fault('unavailable', 'the pools of this node are being opened; try again');
      }
      const known = references();
      if (known === undefined) {
        throw new Fault('unavailable', 'references of the API server are not synced yet; try again');
      }
      const removed = await removeUnreferenced(id, { storage: opened, references: known });
      return { removed: removed.map((orphan) => describeOrphan(orphan)) };
    },
  };
}
