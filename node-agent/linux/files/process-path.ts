/**
 * Returns a path below /proc/self as child processes have to spell it: they do not have this
 * process's descriptors.
 */
export function forPrograms(path: string): string {
  return path.replace(/^\/proc\/self\//, `/proc/${process.pid}/`);
}
