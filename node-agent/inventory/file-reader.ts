import { readdir, readFile, readlink } from 'node:fs/promises';

/** The little that inventory needs of /proc and /sys. What does not exist is no error: machines differ. */
export interface FileReader {
  read(path: string): Promise<string | undefined>;
  /** Names in a folder, sorted; none where there is no folder. */
  list(path: string): Promise<readonly string[]>;
  /** Where a symbolic link leads. */
  link(path: string): Promise<string | undefined>;
}

/** Also what drivers answer for an attribute that the device has no value for: the speed of a link that is down. */
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
