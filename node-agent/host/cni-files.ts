import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CNI_BINARY } from '../../src/core/cni/cni-config.ts';
import { Fault } from '../../src/core/fault.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { placeFile, readIfPresent } from './placed-file.ts';

/** What runtimes look at: the first by name is in force (libcni, as containerd and CRI-O use it). */
const CONFIG_NAME = '10-keelson.conflist';
const CONFIG_FILE = /\.(conf|conflist|json)$/;
/** Runtimes execute it for the `lo` of each pod; ours answers as such by its name. */
const LOOPBACK = 'loopback';

export interface CniDirectories {
  /** Of the host, e.g. `/opt/cni/bin`. */
  readonly binDir: string;
  /** Of the host, e.g. `/etc/cni/net.d`. */
  readonly configDir: string;
}

export interface CniFilesOptions extends CniDirectories {
  /** The exec binary of this release. */
  readonly binary: string;
  readonly config: object;
}

/**
 * Makes the runtime of this host use Keelson's network: the exec binary first, then the configuration that names it. Files of others stay:
 * one that goes before ours by its name is reported, and stays in force. Idempotent.
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
  logger.info({ binDir, placed, loopback: isOurs ? 'ours' : 'foreign' }, 'the CNI binary is in place');

  await mkdir(configDir, { recursive: true });
  const text = `${JSON.stringify(config, undefined, 2)}\n`;
  await placeFile(join(configDir, CONFIG_NAME), Buffer.from(text), 0o644);
  const first = (await readdir(configDir)).filter((name) => CONFIG_FILE.test(name)).sort()[0];
  if (first === CONFIG_NAME) {
    logger.info({ configDir, file: CONFIG_NAME }, 'the CNI configuration is in force');
    return;
  }
  const fault = new Fault(
    'conflict',
    `${configDir}/${first ?? ''} goes before ${CONFIG_NAME}, so pods get another network; remove it to let Keelson give them theirs`,
  );
  logger.warn({ err: fault }, 'another CNI configuration is in force');
}

/** Takes away what `installCni` placed, the configuration first. Idempotent. */
export async function removeCni({ binDir, configDir }: CniDirectories): Promise<void> {
  await rm(join(configDir, CONFIG_NAME), { force: true });
  const program = await readIfPresent(join(binDir, CNI_BINARY));
  const loopback = await readIfPresent(join(binDir, LOOPBACK));
  if (program !== undefined && loopback?.equals(program) === true) await rm(join(binDir, LOOPBACK));
  await rm(join(binDir, CNI_BINARY), { force: true });
}
