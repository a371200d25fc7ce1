import { spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SOURCE = join(import.meta.dirname, '../node-agent/cni/shim/keelson-cni.c');
const DIRECTORY = join(import.meta.dirname, '../dist/cni');

/**
 * Compiles the CNI exec binary to `dist/cni/keelson-cni`, with `loopback` beside it (the same file:
 * it looks at its name). Static, so that it runs on any host. Put in place by rename: a running
 * binary cannot be written to.
 */
export function compileShim(directory: string = DIRECTORY): string {
  mkdirSync(directory, { recursive: true });
  const binary = join(directory, 'keelson-cni');
  const fresh = `${binary}.${process.pid}`;
  const flags = ['-static', '-Os', '-s', '-std=gnu11', '-Wall', '-Wextra', '-Werror'];
  const { status, error } = spawnSync(process.env['CC'] ?? 'cc', [...flags, '-o', fresh, SOURCE], {
    stdio: 'inherit',
  });
  if (error !== undefined) throw new Error(`no C compiler: ${error.message}; install gcc and libc6-dev`);
  if (status !== 0) throw new Error(`compiling ${SOURCE} failed with status ${status}`);
  renameSync(fresh, binary);
  const loopback = join(dirname(binary), 'loopback');
  const link = `${loopback}.${process.pid}`;
  linkSync(binary, link);
  renameSync(link, loopback);
  // rename does nothing when both names are the same file already.
  rmSync(link, { force: true });
  return binary;
}
