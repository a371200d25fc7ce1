import { describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../../test/fakes/fake-clock.ts';
import { RateLimiter } from './rate-limiter.ts';

describe('RateLimiter', () => {
  it('passes a burst, then spaces callers in order', async () => {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ qps: 10, burst: 2 }, { clock });
    const passed: number[] = [];
    for (let caller = 0; caller < 4; caller += 1) void limiter.take().then(() => passed.push(caller));
    await settle();
    expect(passed).toEqual([0, 1]);
    await clock.advance(100);
    expect(passed).toEqual([0, 1, 2]);
    await clock.advance(100);
    expect(passed).toEqual([0, 1, 2, 3]);
  });

  it('refills to one burst after a pause', async () => {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ qps: 10, burst: 2 }, { clock });
    await Promise.all([limiter.take(), limiter.take()]);
    await clock.advance(60_000);
    expect(await Promise.all([limiter.take(), limiter.take()])).toEqual([0, 0]);
    void limiter.take();
    expect(clock.pending).toBe(1);
  });

  it('returns the token of an aborted caller', async () => {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ qps: 1, burst: 1 }, { clock });
    await limiter.take();
    const stop = new AbortController();
    const given = limiter.take({ signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(given).rejects.toThrow('enough');
    const next = limiter.take();
    await clock.advance(1_000);
    expect(await next).toBe(1_000);
  });
});
