import type { Explanation, Verdict } from '../../core/why/explanation.ts';
import { renderTable } from '../../runtime/text-table.ts';

const VERDICTS: Readonly<Record<Verdict, string>> = { well: 'is well', waits: 'waits', stuck: 'is stuck' };
/** Rows of the table of nodes; suitable nodes come first. */
const SHOWN_NODES = 20;

/**
 * Returns an explanation as text: the reason, then the nodes, then remedies and gaps (`hidden`).
 */
export function renderExplanation(explanation: Explanation, hidden: readonly string[]): string {
  const { subject, verdict, reason, summary, nodes, notes, advice } = explanation;
  const sorted = [...nodes].sort((a, b) => a.lacks.length - b.lacks.length);
  const rows = sorted
    .slice(0, SHOWN_NODES)
    .flatMap(({ name, lacks }) =>
      lacks.length === 0
        ? [[name, 'suitable']]
        : lacks.map(({ text }, index) => [index === 0 ? name : '', text]),
    );
  const more = nodes.length > SHOWN_NODES ? `... and ${nodes.length - SHOWN_NODES} more nodes\n` : '';
  const sections = [
    `${subject} ${VERDICTS[verdict]} (${reason}): ${summary}\n`,
    `${renderTable(['NODE', 'LACKS'], rows)}${more}`,
    list('also:', notes),
    list('what to do:', advice),
    list('not read:', hidden),
  ];
  return sections.filter((section) => section !== '').join('\n');
}

function list(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${title}\n${lines.map((line) => `  - ${line}\n`).join('')}`;
}
