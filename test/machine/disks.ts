import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { runCommand } from '../../src/runtime/child-process.ts';
import { type ImageDeps, MACHINE_CACHE, makeDisk } from './image.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MODULES_BYTES = 2 ** 30;
const CODE_BYTES = 192 * 2 ** 20;
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
  await diskOf(
    file,
    join(ROOT, 'node_modules'),
    ['--create', ...excluded, '.'],
    'keelson-npm',
    MODULES_BYTES,
  );
  return file;
}

/** A disk with the repository as it is now, committed or not, and what is built of it. */
export async function makeCodeDisk(file: string): Promise<void> {
  const listed = await runCommand('git', ['ls-files', '-z', '-co', '--exclude-standard'], { cwd: ROOT });
  const present: string[] = [];
  for (const path of listed.stdout.split('\0').filter((name) => name !== '')) {
    if ((await stat(join(ROOT, path)).catch(() => undefined)) !== undefined) present.push(path);
  }
  const built = (await stat(join(ROOT, 'dist')).catch(() => undefined)) === undefined ? [] : ['dist'];
  await diskOf(
    file,
    ROOT,
    ['--create', '--null', '--files-from=-', ...built],
    'keelson-code',
    CODE_BYTES,
    present.join('\0'),
  );
}

async function diskOf(
  file: string,
  source: string,
  select: readonly string[],
  label: string,
  sizeBytes: number,
  names?: string,
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
    const made = join(stage, 'disk.img');
    await makeDisk(made, { from: tree, label, sizeBytes });
    await rename(made, file);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}
