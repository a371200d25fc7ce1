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
  it('that is healthy has no problem', () => {
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
  ])('%s has that problem only', (_, facts, status, reason) => {
    const problems = judgeVolume({ ...WELL, ...facts });
    expect(problems).toMatchObject([{ status, reason }]);
    expect(problems[0]?.message).toMatch(/fast|\/pods\/a/);
  });

  it('has all problems, the most severe first and no reason twice', () => {
    const problems = judgeVolume({ ...WELL, isPresent: false, notMountedAt: '/a', miscounted: 'x' });
    expect(problems.map(({ status }) => status)).toEqual(['data-loss', 'inaccessible', 'degraded']);
    expect(new Set(problems.map(({ reason }) => reason)).size).toBe(problems.length);
  });
});

describe('pools', () => {
  it('that are healthy have no problem', () => {
    expect(judgePools([])).toEqual([]);
  });

  it('that are closed are named in one problem, degraded ones in another', () => {
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
