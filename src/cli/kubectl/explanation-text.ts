import type { Explanation, Verdict } from '../../core/why/explanation.ts';
import { renderTable } from '../../runtime/text-table.ts';

const VERDICTS: Readonly<Record<Verdict, string>> = { well: 'is well', waits: 'waits', stuck: 'is stuck' };
/** Nodes in a table; those that can take it come first, the others are counted. */
const SHOWN_NODES = 20;

/** An explanation as a person reads it: the reason first, then what it rests on. `hidden` is what could not be read. */
export function renderExplanation(explanation: Explanation, hidden: readonly string[]): string {
  const { subject, verdict, reason, summary, nodes, notes, advice } = explanation;
  const sorted = [...nodes].sort((a, b) => a.lacks.length - b.lacks.length);
  const rows = sorted
    .slice(0, SHOWN_NODES)
    .flatMap(({ name, lacks }) =>
      lacks.length === 0
        ? [[name, 'can take it']]
        : lacks.map(({ text }, index) => [index === 0 ? name : '', text]),
    );
  const more = nodes.length > SHOWN_NODES ? `and ${nodes.length - SHOWN_NODES} more nodes\n` : '';
  const sections = [
    `${subject} ${VERDICTS[verdict]} (${reason}): ${summary}\n`,
    `${renderTable(['NODE', 'WHAT IT LACKS'], rows)}${more}`,
    list('also:', notes),
    list('what to do:', advice),
    list('not read:', hidden),
  ];
  return sections.filter((section) => section !== '').join('\n');
}

function list(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${title}\n${lines.map((line) => `  - ${line}\n`).join('')}`;
}
