import { readFile } from 'node:fs/promises';
import { parseElf } from '../core/elf.ts';
import { Fault } from '../core/fault.ts';
import { encodeImageArchive, type OciImage, ociArchitecture } from '../core/oci-image.ts';
import { encodeTar, type TarEntry } from '../core/oci-tar.ts';
import { runCommand } from '../runtime/child-process.ts';

export const BUSYBOX_IMAGE = 'keelson.dev/demo/busybox:1';
export const PAUSE_IMAGE = 'keelson.dev/demo/pause:1';

interface BusyboxImageOptions {
  /** Path of a static busybox; default: Debian's. */
  readonly busybox?: string;
  /** Additional names, e.g. of a test suite. */
  readonly aliases?: readonly string[];
  /** Additional names of the pause image. */
  readonly pauseAliases?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** PID 1 of a PID namespace has no default signal actions: SIGTERM needs a trap. */
const PAUSE_SCRIPT = 'trap "exit 0" TERM INT; while :; do sleep 86400 & wait $!; done';

/**
 * Returns an image archive with a busybox and a pause image, on one layer from this machine's
 * static busybox. Rejects with `unsupported` without one.
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

/** Returns the layer with busybox and a symlink for each applet, as a tar. */
export async function readBusyboxLayer({
  busybox = '/bin/busybox',
  signal,
}: Pick<BusyboxImageOptions, 'busybox' | 'signal'> = {}): Promise<Buffer> {
  const [binary, applets] = await Promise.all([readFile(busybox), listApplets(busybox, signal)]);
  if (parseElf(binary).interpreter !== undefined) {
    throw new Fault('unsupported', `${busybox} is dynamically linked; install the package busybox-static`);
  }
  return encodeTar(busyboxLayer(binary, applets));
}

/** Returns the entries of the layer, directories first. */
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
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnonroot:x:65534:65534:nonroot:/:/bin/false\n'),
    text('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
  ];
}

async function listApplets(busybox: string, signal: AbortSignal | undefined): Promise<string[]> {
  const { stdout } = await runCommand(busybox, ['--list'], { signal, timeoutMs: 5_000 });
  return stdout.split('\n').filter((applet) => /^[\w.[\]-]+$/.test(applet));
}
