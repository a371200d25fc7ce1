import { countResults, type TestResult } from './results.ts';
import { whyNotSelected, whySkipped } from './selection.ts';

/** The results of one profile. */
export interface ProfileResults {
  readonly title: string;
  readonly results: readonly TestResult[];
  /** They are of a run of some tests alone. */
  readonly isPart?: boolean;
}

/** The page as the command writes it, with all that failed or did not run. */
export function resultsPage(profiles: readonly ProfileResults[], machine: string): string {
  const suites = [...new Set(profiles.flatMap(({ results }) => results.map(({ suite }) => suite)))].sort();
  const cell = (results: readonly TestResult[]): string => {
    const { passed, failed, skipped } = countResults(results);
    return results.length === 0 ? '–' : `${passed} / ${failed} / ${skipped}`;
  };
  const rows = suites.map((suite) => [
    suite,
    ...profiles.map(({ results }) => cell(results.filter((result) => result.suite === suite))),
  ]);
  const total = ['**all**', ...profiles.map(({ results }) => `**${cell(results)}**`)];
  return [
    HEAD,
    `${machine}.${partly(profiles)}\n`,
    '## Results\n\nPassed / failed / skipped.\n',
    table(['suite', ...profiles.map(({ title }) => title)], [...rows, total]),
    '\n## Failed\n',
    failures(profiles),
    ...again(profiles),
    '\n## Skipped\n',
    skips(profiles),
  ].join('\n');
}

/** What is not there must not look as if it did not exist. */
function partly(profiles: readonly ProfileResults[]): string {
  const titles = profiles.filter(({ isPart }) => isPart).map(({ title }) => `**${title}**`);
  return titles.length === 0 ? '' : ` Only some tests were run of ${titles.join(' and ')}: – is not run.`;
}

const HEAD = `# Kubernetes' own storage tests

\`make e2e-storage ARGS=--record\` writes this page. The tests of Kubernetes' storage group for external drivers (\`test/e2e\` of Kubernetes 1.36.3, built from
its Go module) run on two nodes of \`make cluster\` with the shipped manifests: one agent per node, one controller, no sidecar. Each profile is a
StorageClass. One profile, or some tests: \`make e2e-storage ARGS="--profile ext4 --focus snapshottable"\`.
`;

function failures(profiles: readonly ProfileResults[]): string {
  const failed = profiles.flatMap(({ title, results }) =>
    results
      .filter(({ state }) => state === 'failed')
      .map(({ suite, pattern, name, message }) => [title, suite, pattern, name, firstLine(message)]),
  );
  return failed.length === 0 ? 'None.\n' : table(['profile', 'suite', 'volumes', 'test', 'says'], failed);
}

/**
 * A run of all tests takes long: what has failed by a fault that is mended is run again alone, and
 * said to be.
 */
function again(profiles: readonly ProfileResults[]): string[] {
  const rows = profiles.flatMap(({ title, results }) =>
    results
      .filter((result) => result.again)
      .map(({ suite, pattern, name, state }) => [title, suite, pattern, name, state]),
  );
  if (rows.length === 0) return [];
  return [
    '\n## Run again\n\nCounted as they ended when they were run again alone.\n',
    table(['profile', 'suite', 'volumes', 'test', 'state'], rows),
  ];
}

function skips(profiles: readonly ProfileResults[]): string {
  const says = new Map<string, { readonly why: string; readonly counts: number[] }>();
  profiles.forEach(({ results }, index) => {
    for (const { state, message, pattern, suite, name } of results) {
      if (state !== 'skipped') continue;
      const text = message === '' ? 'not asked' : firstLine(message);
      const why = message === '' ? whyNotSelected(`${pattern} ${suite} ${name}`) : whySkipped(text);
      const key = `${text} | ${why ?? ''}`;
      const entry = says.get(key) ?? { why: why ?? '', counts: profiles.map(() => 0) };
      entry.counts[index] = (entry.counts[index] ?? 0) + 1;
      says.set(key, entry);
    }
  });
  const rows = [...says]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([key, { why, counts }]) => [key.slice(0, key.indexOf(' | ')), ...counts.map(String), why]);
  return table(['the test says', ...profiles.map(({ title }) => title), 'because'], rows);
}

function firstLine(text: string): string {
  // What follows a colon and a quote is of this machine: the path of a key.
  const line = (text.split('\n').find((candidate) => candidate.trim() !== '') ?? '').replace(/: '.*$/, '');
  return line.length > 240 ? `${line.slice(0, 240)}…` : line;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
