import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

/**
 * What one run of tests came to; `skipped` holds each skip with the reason that the test gave,
 * `failures` each failure with the first line of its error.
 */
export interface TestSummary {
  readonly passed: number;
  readonly failures: readonly { readonly name: string; readonly error: string }[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

/** Writes a TestSummary to the file that SUMMARY_FILE names, where it is set. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const file = process.env['SUMMARY_FILE'];
    if (file === undefined) return;
    let passed = 0;
    const failures = unhandledErrors.map((error) => ({
      name: 'outside of any test',
      error: firstLine(error),
    }));
    const skipped: { name: string; reason: string }[] = [];
    for (const module of modules) {
      const file = module.relativeModuleId;
      failures.push(...module.errors().map((error) => ({ name: file, error: firstLine(error) })));
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'skipped') {
          skipped.push({ name: test.fullName, reason: result.note ?? 'no reason given' });
        } else {
          const [error] = result.state === 'failed' ? result.errors : [];
          failures.push({ name: `${file} > ${test.fullName}`, error: firstLine(error ?? 'did not end') });
        }
      }
    }
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify({ passed, failures, skipped } satisfies TestSummary));
  }
}

function firstLine(error: unknown): string {
  const message = typeof error === 'object' && error !== null && 'message' in error ? error.message : error;
  return String(message).split('\n', 1)[0] ?? '';
}
