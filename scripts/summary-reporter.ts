import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

/** What one run of tests came to; `skipped` holds each skip with the reason that the test gave. */
export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

/** Writes a TestSummary to the file that SUMMARY_FILE names, where it is set. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const file = process.env['SUMMARY_FILE'];
    if (file === undefined) return;
    let passed = 0;
    let failed = unhandledErrors.length;
    const skipped: { name: string; reason: string }[] = [];
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'skipped') {
          skipped.push({ name: test.fullName, reason: result.note ?? 'no reason given' });
        } else failed += 1;
      }
    }
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify({ passed, failed, skipped } satisfies TestSummary));
  }
}
