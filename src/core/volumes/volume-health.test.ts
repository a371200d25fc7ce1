import { describe, expect, it } from 'vitest';
import { judgePools, judgeVolume, type VolumeFacts } from './volume-health.ts';

const WELL: VolumeFacts = {
  pool: 'fast',
  poolClosed: undefined,
  miscounted: undefined,
  isPresent: true,
  notMountedAt: undefined,
  readOnlyAt: undefined,
};

describe('a volume', () => {
  it('that is well has nothing to tell', () => {
    expect(judgeVolume(WELL)).toEqual([]);
  });

  it.each<[string, Partial<VolumeFacts>, string, string]>([
    [
      'of a pool that is away',
      { poolClosed: 'no such device', isPresent: false },
      'inaccessible',
      'PoolUnavailable',
    ],
    ['whose data is away', { isPresent: false }, 'data-loss', 'DataMissing'],
    ['that lost its mount', { notMountedAt: '/pods/a' }, 'inaccessible', 'NotMounted'],
    ['that turned read-only', { readOnlyAt: '/pods/a' }, 'degraded', 'FilesystemReadOnly'],
    ['whose pool counts wrong', { miscounted: 'rescan needed' }, 'degraded', 'QuotaInconsistent'],
  ])('%s says so, and nothing else', (_, facts, status, reason) => {
    const problems = judgeVolume({ ...WELL, ...facts });
    expect(problems).toMatchObject([{ status, reason }]);
    expect(problems[0]?.message).toMatch(/fast|\/pods\/a/);
  });

  it('tells all that it has, the worst first and no reason twice', () => {
    const problems = judgeVolume({ ...WELL, isPresent: false, notMountedAt: '/a', miscounted: 'x' });
    expect(problems.map(({ status }) => status)).toEqual(['data-loss', 'inaccessible', 'degraded']);
    expect(new Set(problems.map(({ reason }) => reason)).size).toBe(problems.length);
  });
});

describe('pools', () => {
  it('that are well have nothing to tell', () => {
    expect(judgePools([])).toEqual([]);
  });

  it('that are away are told in one message, those that are sick in another', () => {
    const found = judgePools([
      { name: 'a', isOpen: false, problem: 'no file' },
      { name: 'b', isOpen: true, problem: 'no rescan' },
      { name: 'c', isOpen: false, problem: 'no device' },
    ]);
    expect(found).toEqual([
      {
        status: 'unreachable',
        reason: 'PoolUnavailable',
        message: 'pool a: no file; pool c: no device',
      },
      { status: 'degraded', reason: 'PoolProblem', message: 'pool b: no rescan' },
    ]);
  });
});
