import { describe } from 'vitest';
import { describeBackend } from '../../../test/contracts/volume-backend.ts';
import { FakePool } from '../../../test/fakes/fake-storage.ts';

describe('the fake pool fulfils the contract of a volume backend', () => {
  const pool = new FakePool();
  describeBackend(() => ({
    pool,
    form: { volumeMode: 'Filesystem', fsType: 'btrfs' },
    write: async ({ id }, text) => pool.write(id, [text]),
    read: async ({ id }) => pool.volumes.get(id)?.content.join('') ?? '',
  }));
});
