import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { runCommand } from '../../src/runtime/child-process.ts';
import { type ImageDeps, MACHINE_CACHE, makeDisk } from './image.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MODULES_BYTES = 2 ** 30;
const CODE_BYTES = 320 * 2 ** 20;
/** What tests and the built command do not use at run time; most of the weight. */
const UNUSED = ['@biomejs', 'typescript', '@kubernetes', 'eslint', '@typescript-eslint', '.cache'];

/** The disk with the npm packages, Node itself among them; made once for each lock file. */
export async function ensureModulesDisk({ report }: ImageDeps): Promise<string> {
  const lock = await readFile(join(ROOT, 'package-lock.json'));
  const key = createHash('sha256').update(lock).update(UNUSED.join()).digest('hex').slice(0, 16);
  const file = join(MACHINE_CACHE, `npm-${key}.img`);
  if ((await stat(file).catch(() => undefined)) !== undefined) return file;
  report('making the disk with the npm packages, once');
  const excluded = UNUSED.map((name) => `--exclude=./${name}`);
  const select = ['--create', ...excluded, '.'];
  await diskOf(file, join(ROOT, 'node_modules'), { select, label: 'keelson-npm', sizeBytes: MODULES_BYTES });
  return file;
}

/**
 * A disk with the repository as it is now, committed or not, and what is built of it; programs by
 * name go into `.tools`.
 */
export async function makeCodeDisk(
  file: string,
  tools: Readonly<Record<string, string>> = {},
): Promise<void> {
  const listed = await runCommand('git', ['ls-files', '-z', '-co', '--exclude-standard'], { cwd: ROOT });
  const present: string[] = [];
  for (const path of listed.stdout.split('\0').filter((name) => name !== '')) {
    if ((await stat(join(ROOT, path)).catch(() => undefined)) !== undefined) present.push(path);
  }
  const built = (await stat(join(ROOT, 'dist')).catch(() => undefined)) === undefined ? [] : ['dist'];
  await diskOf(file, ROOT, {
    select: ['--create', '--null', '--files-from=-', ...built],
    names: present.join('\0'),
    label: 'keelson-code',
    sizeBytes: CODE_BYTES,
    tools,
  });
}

interface DiskContent {
  /** What tar takes of the source, and the names that it reads from its standard input. */
  readonly select: readonly string[];
  readonly names?: string;
  readonly tools?: Readonly<Record<string, string>>;
  readonly label: string;
  readonly sizeBytes: number;
}

async function diskOf(
  file: string,
  source: string,
  { select, names, tools = {}, label, sizeBytes }: DiskContent,
): Promise<void> {
  await mkdir(MACHINE_CACHE, { recursive: true });
  const stage = await mkdtemp(join(MACHINE_CACHE, 'stage-'));
  try {
    const archive = join(stage, 'all.tar');
    const tree = join(stage, 'tree');
    await mkdir(join(tree, 'node_modules'), { recursive: true });
    await runCommand('tar', [...select, '--file', archive], {
      cwd: source,
      ...(names === undefined ? {} : { input: names }),
    });
    await runCommand('tar', ['--extract', '--file', archive, '--directory', tree]);
    await rm(archive);
    for (const [name, path] of Object.entries(tools)) await cp(path, join(tree, '.tools', name));
    const made = join(stage, 'disk.img');
    await makeDisk(made, { from: tree, label, sizeBytes });
    await rename(made, file);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}
