import { Fault } from '../src/core/fault.ts';
import { type AskedFor, describeOrphan } from '../src/core/volumes/orphans.ts';
import type { AdminRoute } from '../src/runtime/admin-server.ts';
import { type OrphanStorage, removeUnasked } from './storage/removal/remove-unreferenced.ts';

/** `keelson volume delete`, as the admin socket serves it. */
export function createVolumeDeleteRoute({
  storage,
  asked,
}: {
  /** Undefined until pools are open. */
  readonly storage: () => OrphanStorage | undefined;
  /** What must not be deleted; undefined while it is not known. */
  readonly asked: () => AskedFor | undefined;
}): AdminRoute {
  return {
    async post({ query }) {
      const id = query.get('id') ?? '';
      if (id === '') throw new Fault('invalid', 'id is missing');
      const opened = storage();
      if (opened === undefined) {
        throw new Fault('unavailable', 'the pools of this node are being opened; try again');
      }
      const known = asked();
      if (known === undefined) {
        throw new Fault(
          'unavailable',
          'the API server has not said yet which volumes are asked for; try again',
        );
      }
      const removed = await removeUnasked(id, { storage: opened, asked: known });
      return { removed: removed.map((orphan) => describeOrphan(orphan)) };
    },
  };
}
