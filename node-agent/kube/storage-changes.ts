import type { Storage } from '../storage/storage.ts';

/** `storage`, telling `onChange` after every operation that may have changed what its pools have; also after failed ones. */
export function tellChanges(storage: Storage, onChange: () => void): Storage {
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
    createSnapshot: (name, volumeId) => telling(storage.createSnapshot(name, volumeId)),
    deleteSnapshot: (id) => telling(storage.deleteSnapshot(id)),
  };
}
