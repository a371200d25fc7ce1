import { expect, test } from 'vitest';
import { FakeClock, settle } from '../../../test/fakes/fake-clock.ts';
import { VOLUME_SNAPSHOTS } from '../../api/snapshot-kinds.ts';
import { Fault, type FaultKind } from '../../core/fault.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { untilServed } from './served-kinds.ts';

/**
 * Asks a server that answers so, one after the other, and tells after which answer the waiting
 * ended.
 */
async function ask(answers: readonly (FaultKind | 'served')[]): Promise<number | undefined> {
  const clock = new FakeClock();
  const stop = new AbortController();
  let asked = 0;
  let endedAfter: number | undefined;
  const list = async (): Promise<never> => {
    const answer = answers[asked] ?? 'not-found';
    asked += 1;
    if (answer !== 'served') throw new Fault(answer, 'no');
    return { items: [], resourceVersion: '1', continue: undefined } as never;
  };
  const waiting = untilServed(
    [VOLUME_SNAPSHOTS],
    'snapshots',
    { client: { list }, logger: silentLogger, clock },
    stop.signal,
  ).then(
    () => (endedAfter = asked),
    () => undefined,
  );
  for (const _ of answers) await clock.advance(10_000);
  await settle();
  stop.abort(new Error('enough'));
  await waiting;
  return endedAfter;
}

test('waits until the server has the kind, and is not misled by a server that is away meanwhile', async () => {
  expect(await ask(['served'])).toBe(1);
  expect(await ask(['not-found', 'unavailable', 'timeout', 'busy', 'not-found', 'served'])).toBe(6);
  expect(await ask(['unavailable', 'not-found'])).toBeUndefined();
});

test('leaves it to informers to say what else is wrong', async () => {
  expect(await ask(['not-found', 'denied'])).toBe(2);
});
