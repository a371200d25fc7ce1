import { describeMissing, type Finding } from '../../preflight/preflight.ts';
import { renderTable } from '../../runtime/text-table.ts';

/**
 * Returns a table of checks, and the cause and remedy of each that failed. `wide` adds them to
 * every row.
 */
export function renderFindings(findings: readonly Finding[], wide: boolean): string {
  const header = ['RESULT', 'CHECK', 'FOUND', ...(wide ? ['WHY', 'REMEDY'] : [])];
  const rows = findings.map(({ check, ok, found, why, remedy }) => [
    ok ? 'ok' : 'FAILED',
    check,
    found,
    ...(wide ? [why, remedy] : []),
  ]);
  const failed = wide ? '' : describeMissing(findings);
  return `${renderTable(header, rows)}${failed === '' ? '' : `\n${failed}`}`;
}
