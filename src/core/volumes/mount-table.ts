/** One line of mountinfo, see proc_pid_mountinfo(5). */
export interface MountEntry {
  /** `major:minor` of the filesystem. */
  readonly device: string;
  readonly mountPoint: string;
  /** What of the filesystem is mounted, seen from its own root. */
  readonly root: string;
  readonly type: string;
  readonly source: string;
  /** Of this mount, not of the filesystem. */
  readonly options: readonly string[];
  /** Of the filesystem, wherever it is mounted. */
  readonly filesystemOptions: readonly string[];
}

/**
 * Reads the text of a mountinfo file, in the order of mounting: of several at one place the last is
 * seen.
 */
export function parseMountTable(text: string): MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const [own, shared] = line.split(' - ');
    const [, , device, root, mountPoint, options] = own?.split(' ') ?? [];
    const [type, source, filesystemOptions] = shared?.split(' ') ?? [];
    if (device === undefined || root === undefined || mountPoint === undefined) return [];
    if (options === undefined || type === undefined || source === undefined) return [];
    return [
      {
        device,
        mountPoint: unescape(mountPoint),
        root: unescape(root),
        type,
        source: unescape(source),
        options: options.split(','),
        filesystemOptions: filesystemOptions?.split(',') ?? [],
      },
    ];
  });
}

/** Space, tab, line feed and backslash are written as octal numbers of their byte. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Whether `path` is `directory` or lies beneath it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}
