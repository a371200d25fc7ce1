import { describe, expect, test } from 'vitest';
import { planResize, type ResizeClaim, type ResizeVolume } from './resize-plan.ts';

const GI = 1n << 30n;
const claim: ResizeClaim = {
  requestBytes: 4n * GI,
  statusBytes: 2n * GI,
  allocatedBytes: undefined,
  state: undefined,
  hasCondition: false,
};
const volume: ResizeVolume = {
  specBytes: 2n * GI,
  capacityBytes: 2n * GI,
  refusal: undefined,
  needsNodeExpansion: false,
};
const inProgress = { allocatedBytes: 4n * GI, state: 'ControllerResizeInProgress', hasCondition: true };
const grown: ResizeVolume = { ...volume, specBytes: 4n * GI, capacityBytes: 4n * GI };
const full = { reason: 'Exhausted', message: 'the pool has 1 GiB free' };
const refused: ResizeVolume = { ...volume, specBytes: 4n * GI, refusal: full };
const plan = (
  change: Partial<ResizeClaim>,
  of: ResizeVolume = volume,
  ownerBytes = 2n * GI,
): ReturnType<typeof planResize> => planResize({ claim: { ...claim, ...change }, ownerBytes, volume: of });

describe('a claim that grows', () => {
  test.each<[string, Partial<ResizeClaim>, ResizeVolume, bigint, object]>([
    ['has what it asks for', { requestBytes: 2n * GI }, volume, 2n * GI, { do: 'nothing' }],
    ['says first what is under way', {}, volume, 2n * GI, { do: 'say', state: inProgress.state }],
    ['asks its node then', inProgress, volume, 2n * GI, { do: 'ask', sizeBytes: 4n * GI }],
    ['waits for its node', inProgress, { ...volume, specBytes: 4n * GI }, 2n * GI, { do: 'nothing' }],
    ['has a PersistentVolume of the new size next', inProgress, grown, 2n * GI, { do: 'publish' }],
    ['has it then', inProgress, grown, 4n * GI, { do: 'finish', sizeBytes: 4n * GI }],
    [
      'leaves the rest to kubelet where the file system must grow as well',
      inProgress,
      { ...grown, needsNodeExpansion: true },
      4n * GI,
      { do: 'hand-over' },
    ],
    [
      'is not taken back from kubelet',
      { ...inProgress, state: 'NodeResizeInProgress' },
      { ...grown, needsNodeExpansion: true },
      4n * GI,
      { do: 'nothing' },
    ],
    [
      'has its last sign removed after a crash',
      { requestBytes: 4n * GI, statusBytes: 4n * GI, hasCondition: true },
      grown,
      4n * GI,
      { do: 'finish' },
    ],
  ])('%s', (_name, change, of, ownerBytes, expected) => {
    expect(plan(change, of, ownerBytes)).toMatchObject(expected);
  });
});

describe('a claim that cannot grow', () => {
  test('gets a message about the full pool, and its node retries', () => {
    expect(plan(inProgress, refused)).toMatchObject({
      do: 'say',
      state: 'ControllerResizeInProgress',
      problem: {
        message:
          'cannot expand the volume to 4 GiB: the pool has 1 GiB free; it is retried; a smaller size may be requested',
      },
    });
  });

  test('is infeasible where no room will help', () => {
    const impossible = { ...refused, refusal: { reason: 'OutOfRange', message: 'at most 3 GiB' } };
    expect(plan(inProgress, impossible)).toMatchObject({
      do: 'say',
      state: 'ControllerResizeInfeasible',
      problem: { kind: 'out-of-range' },
    });
  });

  test('may ask for less, for more, or for what it has', () => {
    const said = (bytes: bigint): Partial<ResizeClaim> => ({
      ...inProgress,
      requestBytes: bytes,
      allocatedBytes: bytes,
    });
    expect(plan({ ...inProgress, requestBytes: 3n * GI }, refused)).toMatchObject({
      do: 'say',
      allocatedBytes: 3n * GI,
      problem: undefined,
    });
    expect(plan(said(3n * GI), refused)).toEqual({ do: 'ask', sizeBytes: 3n * GI });
    expect(plan(said(5n * GI), refused)).toEqual({ do: 'ask', sizeBytes: 5n * GI });
    expect(plan(said(2n * GI), refused)).toEqual({ do: 'ask', sizeBytes: 2n * GI });
    expect(plan(said(2n * GI), volume)).toEqual({ do: 'finish', sizeBytes: 2n * GI });
  });

  test('does not take back what its node is at work on', () => {
    const underWay = { ...volume, specBytes: 4n * GI };
    expect(plan({ ...inProgress, requestBytes: 3n * GI }, underWay)).toEqual({ do: 'nothing' });
  });
});
