import { expect, test } from 'vitest';
import { FakeClock } from '../../../test/fakes/fake-clock.ts';
import { createFakeDisk, FakePool, openFakeRecords, fixedPools } from '../../../test/fakes/fake-storage.ts';
import type { PoolUsage } from '../../../src/core/pools/pool-capacity.ts';
import { Ledger } from './ledger.ts';

const GIB = 1n << 30n;

/** A ledger of one pool of 100 GiB, of which others have taken `taken.bytes`. */
function setup() {
  const clock = new FakeClock();
  const taken = { bytes: 0n };
  let asked = 0;
  const pool = new FakePool();
  pool.backend.usage = async (): Promise<PoolUsage> => {
    asked += 1;
    const totalBytes = 100n * GIB;
    return {
      totalBytes,
      freeBytes: totalBytes - taken.bytes,
      volumes: new Map(),
      otherBytes: taken.bytes,
    };
  };
  const records = openFakeRecords(createFakeDisk());
  return {
    clock,
    taken,
    ledger: new Ledger({ pools: fixedPools([pool]), records, clock }),
    asked: (): number => asked,
  };
}

test('new volumes in quick succession measure their pool once', async () => {
  const { ledger, asked, clock } = setup();
  for (let count = 0; count < 10; count += 1) await ledger.measureFor('default', GIB);
  expect(asked()).toBe(1);
  await clock.advance(200);
  await ledger.measureFor('default', GIB);
  expect(asked()).toBe(2);
});

test('no request is refused by a recent measurement, and only empty volumes use one', async () => {
  const { ledger, asked, taken } = setup();
  taken.bytes = 90n * GIB;
  const full = await ledger.measureFor('default', 20n * GIB);
  expect(full.capacity().availableBytes).toBeLessThan(20n * GIB);
  taken.bytes = 0n;
  const freed = await ledger.measureFor('default', 20n * GIB);
  expect(freed.capacity().availableBytes).toBeGreaterThan(20n * GIB);
  expect(asked()).toBe(2);
  taken.bytes = 90n * GIB;
  expect((await ledger.measure('default')).capacity().availableBytes).toBeLessThan(20n * GIB);
});
