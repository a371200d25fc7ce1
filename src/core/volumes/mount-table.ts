/** One line of mountinfo, see proc_pid_mountinfo(5). */
export interface MountEntry {
  /** `major:minor` of the filesystem. */
  readonly device: string;
  readonly mountPoint: string;
  /** Path of the mounted directory within the file system. */
  readonly root: string;
  readonly type: string;
  readonly source: string;
  /** Options of this mount. */
  readonly options: readonly string[];
  /** Options of the file system, the same for all of its mounts. */
  readonly filesystemOptions: readonly string[];
}

/**
 * Parses mountinfo, in the order of mounting: of several mounts at one path the last is visible.
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

/** Decodes the octal escapes of space, tab, line feed and backslash. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Whether `path` is `directory` or lies beneath it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}
