import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CNI_BINARY } from '../../src/core/cni/cni-config.ts';
import { Fault } from '../../src/core/fault.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { placeFile, readIfPresent } from './placed-file.ts';

/** Runtimes use the first configuration by name (libcni, as containerd and CRI-O use it). */
const CONFIG_NAME = '10-keelson.conflist';
const CONFIG_FILE = /\.(conf|conflist|json)$/;
/** Runtimes execute it for the `lo` of each pod; the exec binary answers by its name. */
const LOOPBACK = 'loopback';

export interface CniDirectories {
  /** On the host, for example `/opt/cni/bin`. */
  readonly binDir: string;
  /** On the host, for example `/etc/cni/net.d`. */
  readonly configDir: string;
}

export interface CniFilesOptions extends CniDirectories {
  /** The exec binary of this release. */
  readonly binary: string;
  readonly config: object;
}

/**
 * Makes the runtime of this host use Keelson's network: the exec binary first, then the
 * configuration that refers to it. Other configurations stay: one that sorts before Keelson's is
 * reported, and takes precedence. Idempotent.
 */
export async function installCni(
  { binDir, configDir, binary, config }: CniFilesOptions,
  { logger }: { readonly logger: Logger },
): Promise<void> {
  const program = await readFile(binary);
  const before = await readIfPresent(join(binDir, CNI_BINARY));
  const loopback = await readIfPresent(join(binDir, LOOPBACK));
  const isOurs = loopback === undefined || before?.equals(loopback) === true;
  const placed = await placeFile(join(binDir, CNI_BINARY), program, 0o755);
  if (isOurs) await placeFile(join(binDir, LOOPBACK), program, 0o755);
  logger.info({ binDir, placed, loopback: isOurs ? 'ours' : 'foreign' }, 'installed the CNI binary');

  await mkdir(configDir, { recursive: true });
  const text = `${JSON.stringify(config, undefined, 2)}\n`;
  await placeFile(join(configDir, CONFIG_NAME), Buffer.from(text), 0o644);
  const first = (await readdir(configDir)).filter((name) => CONFIG_FILE.test(name)).sort()[0];
  if (first === CONFIG_NAME) {
    logger.info({ configDir, file: CONFIG_NAME }, 'installed the CNI configuration');
    return;
  }
  const fault = new Fault(
    'conflict',
    `${configDir}/${first ?? ''} sorts before ${CONFIG_NAME}, so runtimes use that network; remove it to use Keelson's`,
  );
  logger.warn({ err: fault }, 'another CNI configuration takes precedence');
}

/** Removes what `installCni` placed, the configuration first. Idempotent. */
export async function removeCni({ binDir, configDir }: CniDirectories): Promise<void> {
  await rm(join(configDir, CONFIG_NAME), { force: true });
  const program = await readIfPresent(join(binDir, CNI_BINARY));
  const loopback = await readIfPresent(join(binDir, LOOPBACK));
  if (program !== undefined && loopback?.equals(program) === true) await rm(join(binDir, LOOPBACK));
  await rm(join(binDir, CNI_BINARY), { force: true });
}
