import { expect, test } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { QuietPeriod } from './quiet-period.ts';

test('work is done at once where nothing stirs, and gives way to what does', async () => {
  const clock = new FakeClock();
  const calm = new QuietPeriod({ quietMs: 1_000 }, { clock });
  expect(calm.waitMs(clock.monotonicMs())).toBe(0);
  calm.recordActivity();
  const sinceMs = clock.monotonicMs();
  expect(calm.waitMs(sinceMs)).toBe(1_000);
  await clock.advance(600);
  calm.recordActivity();
  expect(calm.waitMs(sinceMs)).toBe(1_000);
  await clock.advance(1_000);
  expect(calm.waitMs(sinceMs)).toBe(0);
});

test('what has waited for long asks less often', async () => {
  const clock = new FakeClock();
  const calm = new QuietPeriod({ quietMs: 1_000 }, { clock });
  const sinceMs = clock.monotonicMs();
  const waits: number[] = [];
  for (let step = 0; step < 6; step += 1) {
    calm.recordActivity();
    const waitMs = calm.waitMs(sinceMs);
    waits.push(waitMs);
    await clock.advance(waitMs);
  }
  expect(waits).toEqual([1_000, 1_000, 2_000, 4_000, 5_000, 5_000]);
});

test('nothing gives way for ever', async () => {
  const clock = new FakeClock();
  const calm = new QuietPeriod({ quietMs: 1_000, patienceMs: 3_000 }, { clock });
  const sinceMs = clock.monotonicMs();
  const waits: number[] = [];
  for (let step = 0; step < 4; step += 1) {
    calm.recordActivity();
    waits.push(calm.waitMs(sinceMs));
    await clock.advance(900);
  }
  calm.recordActivity();
  expect(waits).toEqual([1_000, 1_000, 1_200, 300]);
  expect(calm.waitMs(sinceMs)).toBe(0);
});
