export interface Section {
  readonly title: string;
  /** What was done, for people. */
  readonly intro: string;
  readonly result: string;
}

const HEAD = `# Benchmarks

Written by \`make bench ARGS=--record\`, or part by part (\`make bench ARGS="scale --record"\`). Ours and the peer run in turn in the same run;
the ratios count, the times are the machine's.
`;

/**
 * The page with these sections in place of those of the same title; others stay as they are, new
 * ones come last.
 */
export function updateDocument(page: string, sections: readonly Section[], machine: string): string {
  const [, ...old] = page.split(/^## /m);
  const texts = new Map(old.map((text) => [text.slice(0, text.indexOf('\n')), text.trimEnd()]));
  for (const { title, intro, result } of sections) {
    texts.set(title, `${title}\n\n${intro}\n\n\`\`\`\n${result}\n\`\`\`\n\n${machine}.`);
  }
  return [HEAD, ...[...texts.values()].map((text) => `## ${text}\n`)].join('\n');
}
