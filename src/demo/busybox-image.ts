import { readFile } from 'node:fs/promises';
import { parseElf } from '../core/elf.ts';
import { Fault } from '../core/fault.ts';
import { encodeImageArchive, type OciImage, ociArchitecture } from '../core/oci-image.ts';
import { encodeTar, type TarEntry } from '../core/oci-tar.ts';
import { runCommand } from '../runtime/child-process.ts';

export const BUSYBOX_IMAGE = 'keelson.dev/demo/busybox:1';
export const PAUSE_IMAGE = 'keelson.dev/demo/pause:1';

interface BusyboxImageOptions {
  /** A static busybox; default Debian's. */
  readonly busybox?: string;
  /** More names for the same image, e.g. those that a test suite asks for. */
  readonly aliases?: readonly string[];
  /** More names for the pause image. */
  readonly pauseAliases?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** PID 1 of a namespace gets no default signal action, so the holder of a sandbox has to ask for SIGTERM. */
const PAUSE_SCRIPT = 'trap "exit 0" TERM INT; while :; do sleep 86400 & wait $!; done';

/**
 * An importable archive with a busybox image (every applet a symlink) and a pause image, both on one layer made of this machine's
 * static busybox. Rejects with `unsupported` when busybox is absent or needs shared libraries.
 */
export async function buildBusyboxArchive({
  aliases = [],
  pauseAliases = [],
  ...source
}: BusyboxImageOptions = {}): Promise<Buffer> {
  const layers = [await readBusyboxLayer(source)];
  const busyboxImage = (reference: string): OciImage => ({ reference, layers, run: { command: ['sh'] } });
  const pauseImage = (reference: string): OciImage => ({
    reference,
    layers,
    run: { entrypoint: ['/bin/busybox', 'sh', '-c', PAUSE_SCRIPT] },
  });
  return encodeImageArchive(
    [...[BUSYBOX_IMAGE, ...aliases].map(busyboxImage), ...[PAUSE_IMAGE, ...pauseAliases].map(pauseImage)],
    ociArchitecture(process.arch),
  );
}

/** The layer with busybox and a link for every applet, as a tar. Rejects as `buildBusyboxArchive` does. */
export async function readBusyboxLayer({
  busybox = '/bin/busybox',
  signal,
}: Pick<BusyboxImageOptions, 'busybox' | 'signal'> = {}): Promise<Buffer> {
  const [binary, applets] = await Promise.all([readFile(busybox), listApplets(busybox, signal)]);
  if (parseElf(binary).interpreter !== undefined) {
    throw new Fault(
      'unsupported',
      `${busybox} is linked dynamically and cannot run alone in an image; install the package busybox-static`,
    );
  }
  return encodeTar(busyboxLayer(binary, applets));
}

/** The files of the layer, directories first. */
function busyboxLayer(binary: Uint8Array, applets: readonly string[]): TarEntry[] {
  const directory = (path: string, mode = 0o755): TarEntry => ({ type: 'directory', path, mode });
  const text = (path: string, content: string): TarEntry => ({
    type: 'file',
    path,
    mode: 0o644,
    data: Buffer.from(content),
  });
  return [
    ...['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'var'].map((path) => directory(path)),
    directory('tmp', 0o1777),
    { type: 'file', path: 'bin/busybox', mode: 0o755, data: binary },
    ...applets
      .filter((applet) => applet !== 'busybox')
      .map((applet): TarEntry => ({ type: 'symlink', path: `bin/${applet}`, target: 'busybox' })),
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'),
    text('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
  ];
}

async function listApplets(busybox: string, signal: AbortSignal | undefined): Promise<string[]> {
  const { stdout } = await runCommand(busybox, ['--list'], { signal, timeoutMs: 5_000 });
  return stdout.split('\n').filter((applet) => /^[\w.[\]-]+$/.test(applet));
}
