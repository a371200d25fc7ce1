/**
 * Writes the reference pages of the documentation that the code is the source of.
 * `node scripts/generate-reference.ts`; a unit test compares the committed pages.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CONDITION_REASONS } from '../src/core/reasons/condition-reasons.ts';
import { EVENT_REASONS } from '../src/core/reasons/event-reasons.ts';
import { configurationPage } from './reference/configuration.ts';
import { metricsPage } from './reference/metrics.ts';
import { resourcesPage } from './reference/resources.ts';
import { code, NOTICE, table } from './reference/table.ts';

/** Returns the generated pages: text by path below the repository. */
export function referencePages(): ReadonlyMap<string, string> {
  return new Map([
    ['docs/operate/configuration-reference.md', configurationPage()],
    ['docs/operate/metrics.md', metricsPage()],
    ['docs/operate/reasons.md', reasonsPage()],
    ['docs/operate/resources.md', resourcesPage()],
  ]);
}

function reasonsPage(): string {
  const rows = (reasons: Readonly<Record<string, string>>): string[][] =>
    Object.entries(reasons).map(([reason, meaning]) => [code(reason), meaning]);
  return [
    NOTICE,
    '# Event and condition reasons',
    '## Events',
    table(['Reason', 'Meaning'], rows(EVENT_REASONS)),
    '## Conditions',
    table(['Reason', 'Kind, condition and meaning'], rows(CONDITION_REASONS)),
    'A condition that reports a failure may also have the kind of the failure as its reason, for example `Exhausted`, `NotFound` or `Unavailable`.',
    '',
  ].join('\n\n');
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..');
  for (const [path, text] of referencePages()) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
}
