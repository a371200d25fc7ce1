import type { FileReader } from '../../node-agent/inventory/file-reader.ts';

/**
 * A /proc and /sys in memory: text by path; `-> target` makes a link. A path in `broken` cannot be
 * read.
 */
export class FakeFiles implements FileReader {
  readonly texts: Map<string, string>;
  readonly broken = new Set<string>();

  constructor(texts: Readonly<Record<string, string>>) {
    this.texts = new Map(Object.entries(texts));
  }

  async read(path: string): Promise<string | undefined> {
    if (this.broken.has(path)) throw Object.assign(new Error(`EACCES: ${path}`), { code: 'EACCES' });
    return this.texts.get(path);
  }

  async list(path: string): Promise<readonly string[]> {
    const folder = `${path.replace(/\/\.$/, '')}/`;
    const below = [...this.texts.keys()].filter((key) => key.startsWith(folder));
    return [...new Set(below.map((key) => key.slice(folder.length).split('/', 1)[0] ?? ''))].sort();
  }

  async link(path: string): Promise<string | undefined> {
    return /^-> (.+)$/.exec(this.texts.get(path) ?? '')?.[1];
  }
}
