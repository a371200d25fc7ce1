import { readFile } from 'node:fs/promises';
import { runCommand } from '../../runtime/child-process.ts';

export interface Mount {
  readonly target: string;
  readonly type: string;
  readonly source: string;
}

/** The mounts in the text of /proc/self/mountinfo (proc(5)), in the order they were made. */
export function parseMountinfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [type = '', source = ''] = after.split(' ');
      return { target: unescape(before.split(' ')[4] ?? ''), type, source: unescape(source) };
    });
}

/** Every mount that this process sees. */
export async function readMounts(): Promise<Mount[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** Whether `path` is `directory` or lies beneath it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Unmounts everything at or beneath `directory`, the latest mount first, detaching what is busy. */
export async function unmountWithin(directory: string): Promise<void> {
  // A target may be covered by several mounts, and one mount may uncover others: repeat until none is seen.
  for (let round = 0; round < 5; round += 1) {
    const targets = (await readMounts())
      .map(({ target }) => target)
      .filter((target) => isWithin(target, directory));
    if (targets.length === 0) return;
    for (const target of targets.toReversed()) {
      await runCommand('umount', ['-n', target], { accept: [1, 32] });
      if (round > 0) await runCommand('umount', ['-n', '-l', target], { accept: [1, 32] });
    }
  }
}

/** mountinfo writes space, tab, newline and backslash as octal escapes. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
