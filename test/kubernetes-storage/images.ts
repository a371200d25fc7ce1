import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { ensureTool } from '../tools/build-tool.ts';

/** Replaces every registry that the tests know: no image is pulled. */
const REGISTRY = 'keelson.dev/suites';
const BUSYBOX = '/bin/busybox';
const BUILD_IMAGES = join(import.meta.dirname, 'build-images.sh');
const BUILD_WITHIN_MS = 600_000;

/** Returns a file for `KUBE_TEST_REPO_LIST`, which defines its keys. */
export function registryList(): string {
  const keys = ['promoterE2eRegistry', 'gcRegistry', 'sigStorageRegistry', 'dockerLibraryRegistry'];
  return keys.map((key) => `${key}: ${REGISTRY}\n`).join('');
}

/**
 * Target of the Dockerfile for an image of the storage tests, by its name without registry and tag.
 */
const TARGETS: Readonly<Record<string, 'busybox' | 'agnhost' | 'coreutils'>> = {
  agnhost: 'agnhost',
  busybox: 'busybox',
  // dd with flags that busybox does not have.
  'glibc-dns-testing': 'coreutils',
  // The tests use its shell only.
  nginx: 'busybox',
  pause: 'agnhost',
};

/**
 * Builds the images that the storage tests use, of busybox, a Debian and agnhost, under the names
 * in `references`, into an OCI archive. Rejects with `not-found` if the tests know an image no
 * longer.
 */
export async function buildSuiteImages(references: readonly string[], archive: string): Promise<void> {
  const images = references.flatMap((reference) => {
    const target = TARGETS[/([^/:]+):[^/:]+$/.exec(reference)?.[1] ?? ''];
    return target === undefined ? [] : [`${target}=${reference}`];
  });
  for (const name of Object.keys(TARGETS)) {
    if (images.some((image) => image.includes(`/${name}:`))) continue;
    throw new Fault('not-found', `the tests know no image ${name}: find the one that they use instead`);
  }
  const context = await mkdtemp(join(tmpdir(), 'keelson-suite-images-'));
  try {
    await copyFile(BUSYBOX, join(context, 'busybox'));
    await copyFile(await ensureTool('agnhost'), join(context, 'agnhost'));
    await runCommand(BUILD_IMAGES, [context, archive, ...images], {
      env: process.env,
      timeoutMs: BUILD_WITHIN_MS,
    });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

/** Returns the full names of all images that the tests know, under `REGISTRY`. */
export async function listSuiteImages(registryListFile: string): Promise<readonly string[]> {
  const { stdout } = await runCommand(await ensureTool('e2e.test'), ['--list-images'], {
    env: { PATH: '/usr/bin:/bin', KUBE_TEST_REPO_LIST: registryListFile },
  });
  return stdout.split('\n').filter((line) => line.startsWith(`${REGISTRY}/`));
}
