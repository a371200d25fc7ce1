import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { runCommand } from '../runtime/child-process.ts';

export const BUSYBOX_IMAGE = 'keelson.dev/demo/busybox:1';
export const PAUSE_IMAGE = 'keelson.dev/demo/pause:1';

interface BusyboxImageOptions {
  /** Additional names, e.g. of a test suite. */
  readonly aliases?: readonly string[];
  /** Additional names of the pause image. */
  readonly pauseAliases?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

const BUSYBOX = '/bin/busybox';
/** PID 1 of a PID namespace has no default signal actions: SIGTERM needs a trap. */
const PAUSE_SCRIPT = 'trap "exit 0" TERM INT; while :; do sleep 86400 & wait $!; done';
const ENVIRONMENT = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'];
/** GOARCH, which image configurations use, for Node's names that differ. */
const GOARCH: Readonly<Record<string, string>> = { x64: 'amd64' };

/**
 * Writes an archive for `ctr images import` with a busybox image and a pause image, both on one
 * layer with this machine's static busybox. Needs root. Rejects with `unsupported` if busybox needs
 * shared libraries. The format is that of `docker save`, which tar(1) can write, so that a demo
 * needs no image builder.
 */
export async function writeBusyboxArchive(
  archive: string,
  { aliases = [], pauseAliases = [], signal }: BusyboxImageOptions = {},
): Promise<void> {
  const parts = `${archive}.parts`;
  try {
    await makeLayer(join(parts, 'root'), signal);
    await createTar(join(parts, 'layer.tar'), join(parts, 'root'), ['.'], signal);
    const layer = createHash('sha256')
      .update(await readFile(join(parts, 'layer.tar')))
      .digest('hex');
    const pause = { Entrypoint: [BUSYBOX, 'sh', '-c', PAUSE_SCRIPT] };
    await writeFile(join(parts, 'busybox.json'), imageConfig({ Cmd: ['sh'] }, layer));
    await writeFile(join(parts, 'pause.json'), imageConfig(pause, layer));
    const manifest = [
      { Config: 'busybox.json', RepoTags: [BUSYBOX_IMAGE, ...aliases], Layers: ['layer.tar'] },
      { Config: 'pause.json', RepoTags: [PAUSE_IMAGE, ...pauseAliases], Layers: ['layer.tar'] },
    ];
    await writeFile(join(parts, 'manifest.json'), JSON.stringify(manifest));
    const members = ['manifest.json', 'busybox.json', 'pause.json', 'layer.tar'];
    await createTar(archive, parts, members, signal);
  } finally {
    await rm(parts, { recursive: true, force: true });
  }
}

function imageConfig(run: object, layer: string): string {
  return JSON.stringify({
    architecture: GOARCH[process.arch] ?? process.arch,
    os: 'linux',
    config: { Env: ENVIRONMENT, WorkingDir: '/', ...run },
    rootfs: { type: 'layers', diff_ids: [`sha256:${layer}`] },
  });
}

async function makeLayer(root: string, signal: AbortSignal | undefined): Promise<void> {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'var']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await chmod(root, 0o755);
  await chmod(join(root, 'tmp'), 0o1777);
  await writeFile(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnonroot:x:65534:65534:nonroot:/:/bin/false\n',
  );
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  await copyFile(BUSYBOX, join(root, BUSYBOX));
  await chmod(join(root, BUSYBOX), 0o755);
  try {
    // A link for each applet; also shows that it runs without this machine's libraries.
    await runCommand('chroot', [root, BUSYBOX, '--install', '-s', '/bin'], { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new Fault(
      'unsupported',
      `${BUSYBOX} does not run alone in an image; install the package busybox-static`,
      { cause },
    );
  }
}

async function createTar(
  file: string,
  directory: string,
  members: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mtime=@0', '--sort=name'];
  await runCommand('tar', ['--create', '--file', file, '--directory', directory, ...owner, ...members], {
    signal,
  });
}
