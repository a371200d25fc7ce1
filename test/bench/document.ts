export interface Section {
  readonly title: string;
  /** What was done, for people. */
  readonly intro: string;
  readonly result: string;
}

const HEAD = `# Benchmarks

\`make bench ARGS=--record\` writes this page; \`make bench ARGS="scale --record"\` writes one part. Keelson and the peer run alternately in the same run:
compare ratios, not times.
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
