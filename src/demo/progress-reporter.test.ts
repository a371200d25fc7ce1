import { describe, expect, test } from 'vitest';
import { formatDuration, ProgressReporter } from './progress-reporter.ts';

function createReporter(isTTY: boolean) {
  let written = '';
  let nowMs = 0;
  const progress = new ProgressReporter({
    terminal: { isTTY, write: (text: string) => (written += text) },
    monotonicMs: () => nowMs,
  });
  return { progress, written: () => written, pass: (ms: number) => (nowMs += ms) };
}

describe('ProgressReporter', () => {
  test('a step is one line with its detail and its duration', async () => {
    const { progress, written, pass } = createReporter(false);
    const work = async (): Promise<number> => {
      pass(250);
      return Promise.resolve(3);
    };
    await progress.step('volumes made', work, (count) => `${count} of them`);
    expect(written()).toBe('  ✓ volumes made: 3 of them  250 ms\n');
    expect(progress.steps).toEqual([
      { section: '', title: 'volumes made', detail: '3 of them', ok: true, startedMs: 0, durationMs: 250 },
    ]);
  });

  test('a failed step is marked, and its error rejects', async () => {
    const { progress, written } = createReporter(false);
    const error = new Error('no pool');
    await expect(progress.step('volumes made', () => Promise.reject(error))).rejects.toBe(error);
    expect(written()).toBe('  ✗ volumes made  0 ms\n');
  });

  test('without a terminal there is no escape sequence', async () => {
    const { progress, written } = createReporter(false);
    progress.heading('1 Agent');
    await progress.step('a', () => Promise.resolve());
    expect(written()).not.toContain('\x1b');
  });

  test('on a terminal the running step is shown and then replaced', async () => {
    const { progress, written } = createReporter(true);
    await progress.step('a', () => Promise.resolve());
    expect(written()).toMatch(/… ?.*a.*\r.*✓.*a/s);
  });
});

test.each([
  [12.4, '12 ms'],
  [1_234, '1.23 s'],
  [125_000, '2 min 5 s'],
])('%d ms is written %s', (durationMs, expected) => {
  expect(formatDuration(durationMs)).toBe(expected);
});
