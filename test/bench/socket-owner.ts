import { readdir, readFile, readlink } from 'node:fs/promises';

/**
 * The process that listens on a unix socket of this network namespace; undefined when it cannot be
 * seen from here.
 */
export async function findSocketOwner(path: string): Promise<number | undefined> {
  const inode = parseListener(await readFile('/proc/net/unix', 'utf8'), path);
  if (inode === undefined) return undefined;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (target === `socket:[${inode}]`) return Number(pid);
    }
  }
  return undefined;
}

/**
 * The inode of the listening socket at `path`, of the text of /proc/net/unix (proc(5)): flag 10000
 * says that it accepts connections.
 */
export function parseListener(table: string, path: string): string | undefined {
  const line = table
    .split('\n')
    .map((text) => text.trim().split(/\s+/))
    .find(([, , , flags, , , , name]) => flags === '00010000' && name === path);
  return line?.[6];
}
