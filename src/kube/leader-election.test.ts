import { describe, expect, it } from 'vitest';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock, settle } from '../../test/fakes/fake-clock.ts';
import { Fault } from '../core/fault.ts';
import { silentLogger } from '../runtime/logger.ts';
import { type Lease, LEASES } from './built-in.ts';
import { leadWhile } from './leader-election.ts';
import { claimLease, isHeldByOther, observeLease } from './lease.ts';

const WHERE = { namespace: 'keelson-system', name: 'controller' };

interface Candidate {
  readonly identity: string;
  readonly stop: AbortController;
  /** Events of its work, in order. */
  readonly log: string[];
  readonly done: Promise<unknown>;
}

class Bench {
  readonly clock = new FakeClock();
  readonly client = new FakeApiClient();

  candidate(identity: string, { stopsAfterMs = 0, client = this.client } = {}): Candidate {
    const stop = new AbortController();
    const log: string[] = [];
    const work = async (signal: AbortSignal): Promise<void> => {
      log.push('start');
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      log.push('asked to stop');
      if (stopsAfterMs > 0) {
        await new Promise<void>((resolve) => this.clock.schedule(stopsAfterMs, resolve));
      }
      log.push('end');
    };
    const done = leadWhile(
      { ...WHERE, identity },
      work,
      { client, logger: silentLogger, clock: this.clock, random: () => 0 },
      stop.signal,
    ).then(
      () => 'ended',
      (error: unknown) => error,
    );
    return { identity, stop, log, done };
  }

  holder(): string | undefined {
    return (this.client.store.get(LEASES, WHERE) as Lease).spec?.holderIdentity;
  }
}

const UNREACHABLE = new Fault('unavailable', 'cannot reach the API server');

describe('leader election', () => {
  it('lets one candidate lead; the other takes over at once when the first stops', async () => {
    const bench = new Bench();
    const a = bench.candidate('a');
    await settle();
    const b = bench.candidate('b');
    await bench.clock.advance(60_000);
    expect([a.log, b.log, bench.holder()]).toEqual([['start'], [], 'a']);
    a.stop.abort();
    expect(await a.done).toBe('ended');
    expect(bench.holder()).toBe('');
    await bench.clock.advance(5_000);
    expect([a.log, b.log, bench.holder()]).toEqual([['start', 'asked to stop', 'end'], ['start'], 'b']);
    expect((bench.client.store.get(LEASES, WHERE) as Lease).spec?.leaseTransitions).toBe(1);
    b.stop.abort();
    await b.done;
    expect(bench.clock.pending).toBe(0);
  });

  it('stops its work before others can take over when the server is unreachable', async () => {
    const bench = new Bench();
    const a = bench.candidate('a');
    await settle();
    const away = { verb: 'update', error: UNREACHABLE };
    bench.client.failures.push(...Array.from({ length: 50 }, () => away));
    await bench.clock.advance(9_900);
    expect(a.log).toEqual(['start']);
    await bench.clock.advance(200);
    expect(a.log).toEqual(['start', 'asked to stop', 'end']);
    const error = await a.done;
    expect(error).toMatchObject({ kind: 'unavailable' });
    expect((error as Fault).message).toMatch(/not renewed in time/);
    // The lease is not released: its current holder is unknown.
    expect(bench.holder()).toBe('a');
  });

  it('stops when its requests hang', async () => {
    const bench = new Bench();
    const a = bench.candidate('a');
    await settle();
    bench.client.update = () => new Promise(() => undefined);
    await bench.clock.advance(10_100);
    expect(await a.done).toMatchObject({ kind: 'unavailable' });
    expect(a.log.at(-1)).toBe('end');
  });

  it('survives a failed renewal within the deadline', async () => {
    const bench = new Bench();
    const a = bench.candidate('a');
    await settle();
    bench.client.failures.push({ verb: 'update', error: UNREACHABLE });
    await bench.clock.advance(60_000);
    expect(a.log).toEqual(['start']);
    a.stop.abort();
    await a.done;
  });

  it('stops when another candidate holds the lease', async () => {
    const bench = new Bench();
    const a = bench.candidate('a');
    await settle();
    bench.client.store.patch(LEASES, WHERE, { type: 'merge', body: { spec: { holderIdentity: 'thief' } } });
    await bench.clock.advance(5_000);
    const error = await a.done;
    expect((error as Fault).message).toMatch(/held by thief/);
    expect([a.log.at(-1), bench.holder()]).toEqual(['end', 'thief']);
  });

  it('keeps the lease while its work is stopping', async () => {
    const bench = new Bench();
    const a = bench.candidate('a', { stopsAfterMs: 40_000 });
    await settle();
    const b = bench.candidate('b');
    await bench.clock.advance(5_000);
    a.stop.abort();
    await bench.clock.advance(39_000);
    expect([b.log, bench.holder()]).toEqual([[], 'a']);
    await bench.clock.advance(10_000);
    expect([a.log.at(-1), b.log]).toEqual(['end', ['start']]);
    b.stop.abort();
    await b.done;
  });

  it('takes over from a dead leader when the lease expires, not before', async () => {
    const bench = new Bench();
    bench.client.store.create(
      LEASES,
      claimLease(undefined, { ...WHERE, identity: 'dead', leaseMs: 15_000, nowMs: 0 }),
    );
    const b = bench.candidate('b');
    await bench.clock.advance(14_900);
    expect(b.log).toEqual([]);
    await bench.clock.advance(5_000);
    expect(b.log).toEqual(['start']);
    b.stop.abort();
    await b.done;
  });

  it('lets only one of two concurrent candidates lead', async () => {
    const bench = new Bench();
    const both = [bench.candidate('a'), bench.candidate('b')];
    await bench.clock.advance(120_000);
    expect(both.flatMap(({ log }) => log)).toEqual(['start']);
    for (const { stop } of both) stop.abort();
    await bench.clock.advance(0);
    await Promise.all(both.map(({ done }) => done));
  });

  it('rejects with the error of its work, and releases the lease', async () => {
    const bench = new Bench();
    const failing = leadWhile(
      { ...WHERE, identity: 'a' },
      () => Promise.reject(new Fault('bug', 'broken')),
      { client: bench.client, logger: silentLogger, clock: bench.clock, random: () => 0 },
      new AbortController().signal,
    );
    await expect(failing).rejects.toThrow('broken');
    expect(bench.holder()).toBe('');
  });
});

describe('a lease', () => {
  const held = claimLease(undefined, { ...WHERE, identity: 'a', leaseMs: 15_000, nowMs: 0 });

  it('expires by the time of its last observed change, not by its timestamps', () => {
    const future = { ...held, spec: { ...held.spec, renewTime: '2999-01-01T00:00:00.000000Z' } };
    const seen = observeLease(undefined, future, 1_000);
    expect(observeLease(seen, future, 9_000).changedAtMs).toBe(1_000);
    expect(isHeldByOther(seen, 'b', 15_999)).toBe(true);
    expect(isHeldByOther(seen, 'b', 16_000)).toBe(false);
    expect(isHeldByOther(seen, 'a', 1_000)).toBe(false);
  });

  it('keeps its acquire time while it is renewed, and counts transitions', () => {
    const renewed = claimLease(held, { ...WHERE, identity: 'a', leaseMs: 15_000, nowMs: 5_000 });
    expect(renewed.spec).toMatchObject({
      acquireTime: '1970-01-01T00:00:00.000000Z',
      renewTime: '1970-01-01T00:00:05.000000Z',
      leaseTransitions: 0,
    });
    const taken = claimLease(renewed, { ...WHERE, identity: 'b', leaseMs: 15_000, nowMs: 9_000 });
    expect(taken.spec).toMatchObject({ acquireTime: '1970-01-01T00:00:09.000000Z', leaseTransitions: 1 });
  });
});
