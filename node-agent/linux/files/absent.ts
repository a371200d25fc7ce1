/**
 * Returns undefined for ENOENT and ENOTDIR, for use as `.catch(absent)`; rethrows every other
 * error.
 */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}
