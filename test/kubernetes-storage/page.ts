import { countResults, type TestResult } from './results.ts';

/** The results of one profile. */
export interface ProfileResults {
  readonly title: string;
  readonly results: readonly TestResult[];
}

/** Why a test does not run here, for what it says itself. */
const REASONS: readonly { readonly says: RegExp; readonly why: string }[] = [
  {
    says: /SSH/i,
    why: 'restarts kubelet by SSH and systemd, which nodes in namespaces do not have; `test/e2e` does the same in its own way',
  },
  { says: /RWX|ReadWriteMany|only supports singleNodeVolume/i, why: 'a volume is on one node' },
  {
    says: /ROX|ReadOnlyMany|read only raw block/i,
    why: 'ReadOnlyMany means pods on many nodes; a volume is on one',
  },
  {
    says: /"?(ext3|ext4|xfs|ntfs|btrfs)"? ?(fs type)?/i,
    why: 'a profile has one file system; the others have profiles of their own, or do not exist here',
  },
  { says: /ntfs|Windows/i, why: 'for Windows' },
  { says: /SELinux/i, why: 'needs SELinux on the host' },
  {
    says: /does not support volume type "(PreprovisionedPV|InlineVolume)"/,
    why: 'the tests make such volumes with drivers of their own alone',
  },
];

const NOT_SELECTED = 'not selected: for Windows, or for SELinux';

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
    `${machine}.\n`,
    '## Results\n\nPassed / failed / skipped.\n',
    table(['suite', ...profiles.map(({ title }) => title)], [...rows, total]),
    '\n## Failed\n',
    failures(profiles),
    '\n## Skipped\n',
    skips(profiles),
  ].join('\n');
}

const HEAD = `# Kubernetes' own storage tests

Written by \`make e2e-storage ARGS=--record\`. The tests of Kubernetes' storage group for external drivers (\`test/e2e\` of Kubernetes 1.36.3, built from its Go
module), on two nodes of \`make cluster\` with Keelson as it is shipped: one agent a node and one controller, no other sidecar. Each profile is a
StorageClass. One profile or some tests: \`make e2e-storage ARGS="--profile ext4 --focus snapshottable"\`.
`;

function failures(profiles: readonly ProfileResults[]): string {
  const failed = profiles.flatMap(({ title, results }) =>
    results
      .filter(({ state }) => state === 'failed')
      .map(({ suite, pattern, name, message }) => [title, suite, pattern, name, firstLine(message)]),
  );
  return failed.length === 0 ? 'None.\n' : table(['profile', 'suite', 'volumes', 'test', 'says'], failed);
}

function skips(profiles: readonly ProfileResults[]): string {
  const says = new Map<string, number[]>();
  profiles.forEach(({ results }, index) => {
    for (const { state, message } of results) {
      if (state !== 'skipped') continue;
      const text = message === '' ? NOT_SELECTED : firstLine(message);
      const counts = says.get(text) ?? profiles.map(() => 0);
      counts[index] = (counts[index] ?? 0) + 1;
      says.set(text, counts);
    }
  });
  const rows = [...says]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([text, counts]) => [text, ...counts.map(String), reasonFor(text)]);
  return table(['the test says', ...profiles.map(({ title }) => title), 'because'], rows);
}

function reasonFor(message: string): string {
  return REASONS.find(({ says }) => says.test(message))?.why ?? '';
}

function firstLine(text: string): string {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? '';
  return line.length > 240 ? `${line.slice(0, 240)}…` : line;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
