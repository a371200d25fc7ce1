import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
/** First line of pages that a program writes. */
const GENERATED = /^<!-- Generated|^`make (bench|e2e-storage) ARGS=--record` writes this page/m;

/** A fenced block: its language (empty without one) and text. */
export interface Block {
  readonly language: string;
  readonly text: string;
}

/** A page of the documentation. */
export interface Page {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
  readonly isGenerated: boolean;
}

/** Returns all pages of `docs/`, and those at the top of the repository. */
export function readPages(): Page[] {
  const top = readdirSync(ROOT).filter((name) => name.endsWith('.md'));
  const below = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name));
  return [...top, ...below].sort().map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    return { path, text, isGenerated: GENERATED.test(text) };
  });
}

/** Returns the fenced blocks of a page, also those in lists, without their indentation. */
export function blocksOf({ text }: Pick<Page, 'text'>): Block[] {
  return [...text.matchAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm)].map(
    ([, indent = '', language = '', body = '']) => ({
      language,
      text: body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    }),
  );
}

/** Returns the page without its fenced blocks. */
export function proseOf({ text }: Pick<Page, 'text'>): string {
  return text.replaceAll(/^( *)```\w*\n[\s\S]*?^ *```$/gm, '');
}

/** Returns the anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(page: Pick<Page, 'text'>): Set<string> {
  const headings = [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\- _]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** Returns the cells of all tables of a page. */
export function cellsOf(page: Pick<Page, 'text'>): string[] {
  return [...proseOf(page).matchAll(/^\|(.*)\|$/gm)].flatMap(([, row = '']) => row.split(/(?<!\\)\|/));
}
