import { readdir, readFile, readlink } from 'node:fs/promises';

/** Reads /proc and /sys for the inventory. Absent files are not errors: machines differ. */
export interface FileReader {
  read(path: string): Promise<string | undefined>;
  /** Names in a folder, sorted; none when it does not exist. */
  list(path: string): Promise<readonly string[]>;
  /** Target of a symbolic link. */
  link(path: string): Promise<string | undefined>;
}

/** Also what drivers return for an attribute without a value: the speed of a link that is down. */
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'EINVAL', 'ENODEV', 'ENXIO', 'EOPNOTSUPP']);

export const systemFiles: FileReader = {
  read: (path) => orAbsent(readFile(path, 'utf8'), undefined),
  list: async (path) => (await orAbsent(readdir(path), [])).sort(),
  link: (path) => orAbsent(readlink(path), undefined),
};

async function orAbsent<T>(work: Promise<T>, absent: T): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? '')) return absent;
    throw error;
  }
}
