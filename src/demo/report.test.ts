import { expect, test } from 'vitest';
import { renderFindings } from './report.ts';

test('the closing tables show volumes, addresses, effects and timings', () => {
  const text = renderFindings(
    {
      volumes: [{ name: 'data', id: 'v1', sizeBytes: '1073741824', source: 'empty' }],
      pods: [{ name: 'writer', sandboxId: 's1', addresses: ['10.88.0.2', 'fd00::2'], volume: 'data' }],
      pings: [],
      overfill: {
        error: 'Disk quota exceeded',
        writtenBytes: 2 ** 29,
        sizeBytes: 2 ** 30,
        statsUsedBytes: 0,
      },
      policy: { variable: 'A', before: 'unset', after: 'b', denial: 'x denies y: no such pods' },
    },
    [
      { section: 'Volumes', title: 'CreateVolume', detail: '', ok: true, startedMs: 100, durationMs: 12 },
      { section: 'Volumes', title: 'CreateVolume', detail: '', ok: true, startedMs: 150, durationMs: 14 },
      { section: 'Volumes', title: 'a pod writes', detail: '', ok: true, startedMs: 164, durationMs: 36 },
    ],
  );
  expect(text).toContain('  data    1 GiB  empty   v1\n');
  expect(text).toContain('  writer  10.88.0.2, fd00::2  data\n');
  expect(text).toContain('Disk quota exceeded after 512 MiB');
  expect(text).toContain('unset before, b after');
  expect(text).toContain('  label-selected denial  x denies y\n');
  expect(text).toContain('  Volumes  100 ms\n');
  expect(text).toContain('  CreateVolume  2      12 ms to 14 ms\n');
  expect(text).not.toContain('a pod writes');
  expect(text).not.toContain('ROUND TRIP');
});

test('a run without results has no tables', () => {
  expect(renderFindings({ volumes: [], pods: [], pings: [] }, [])).toBe('');
});
