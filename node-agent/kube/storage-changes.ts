import type { Storage } from '../storage/storage.ts';

type Changing = Pick<
  Storage,
  | 'createVolume'
  | 'expandVolume'
  | 'deleteVolume'
  | 'createSnapshot'
  | 'deleteSnapshot'
  | 'createGroup'
  | 'deleteGroup'
  | 'removeUnrecorded'
  | 'publishEphemeral'
  | 'unpublishEphemeral'
>;

/** `storage`, telling `onChange` after every operation that may have changed what its pools have; also after failed ones. */
export function tellChanges<S extends Changing>(storage: S, onChange: () => void): S {
  const telling = async <R>(operation: Promise<R>): Promise<R> => {
    try {
      return await operation;
    } finally {
      onChange();
    }
  };
  return {
    ...storage,
    createVolume: (request) => telling(storage.createVolume(request)),
    expandVolume: (id, range) => telling(storage.expandVolume(id, range)),
    deleteVolume: (id) => telling(storage.deleteVolume(id)),
    publishEphemeral: (request) => telling(storage.publishEphemeral(request)),
    unpublishEphemeral: (handle, target) => telling(storage.unpublishEphemeral(handle, target)),
    createSnapshot: (name, volumeId) => telling(storage.createSnapshot(name, volumeId)),
    deleteSnapshot: (id) => telling(storage.deleteSnapshot(id)),
    createGroup: (name, volumeIds) => telling(storage.createGroup(name, volumeIds)),
    removeUnrecorded: (pool, id) => telling(storage.removeUnrecorded(pool, id)),
    deleteGroup: (id, snapshotIds) => telling(storage.deleteGroup(id, snapshotIds)),
  };
}
