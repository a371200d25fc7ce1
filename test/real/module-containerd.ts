import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureTool } from '../tools/build-tool.ts';

export interface ContainerdBinaries extends AsyncDisposable {
  /** Has containerd, ctr, containerd-shim-runc-v2 and runc. */
  readonly binDir: string;
}

/**
 * containerd 2.4 and runc 1.5 from their Go modules, together in one directory as
 * `--containerd-dir` wants them. Rejects with the `precondition` of `ensureTool` when they cannot
 * be built here.
 */
export async function containerdFromModules(): Promise<ContainerdBinaries> {
  const names = ['containerd', 'ctr', 'containerd-shim-runc-v2', 'runc'] as const;
  const paths = [];
  // In turn: each build takes all processors.
  for (const name of names) paths.push({ name, path: await ensureTool(name) });
  const directory = await mkdtemp('/tmp/keelson-test-bin-');
  const binDir = join(directory, 'bin');
  await mkdir(binDir);
  await Promise.all(paths.map(({ name, path }) => symlink(path, join(binDir, name))));
  return { binDir, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
