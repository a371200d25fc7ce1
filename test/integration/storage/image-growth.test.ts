import { chmod, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { growsMounted } from '../../../node-agent/storage/backends/image/volume-filesystem.ts';
import type { FsType } from '../../../src/core/volumes/volume.ts';
import { MIB, requireRoot, type StorageLab, startStorageLab } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

const bytes = (mebibytes: bigint) => ({ requiredBytes: mebibytes * MIB, limitBytes: 0n });

async function makeVolume(lab: StorageLab, fsType: FsType, mebibytes: bigint): Promise<string> {
  const request = { name: 'v', pool: undefined, source: undefined, range: bytes(mebibytes), fsType };
  const { id } = await lab.storage.volumes.create(request);
  await writeFile(join(await lab.publish(id), 'data'), 'kept');
  return id;
}

async function hide(lab: StorageLab, id: string): Promise<void> {
  await lab.storage.staging.unpublish(id, join(lab.directory, 'target'));
  await lab.storage.staging.unstage(id, join(lab.directory, 'staging'));
}

it('an ext4 whose growth was interrupted is unchanged, and grows the next time', async (context) => {
  if (await growsMounted('ext4')) context.skip('with CAP_SYS_RESOURCE the kernel grows it, in its journal');
  await using lab = await startStorageLab({ backend: 'image' });
  const id = await makeVolume(lab, 'ext4', 16n);
  await hide(lab, id);
  await lab.storage.volumes.expand(id, bytes(64n));
  const path = process.env['PATH'] ?? '';
  onTestFinished(() => void (process.env['PATH'] = path));
  // It is killed after some of its writes, which e2fsck cannot repair on its own.
  const programs = join(lab.directory, 'bin');
  await mkdir(programs);
  await writeFile(
    join(programs, 'resize2fs'),
    '#!/bin/sh\ndd if=/dev/urandom of="$1" bs=4096 count=8 conv=notrunc 2>/dev/null; kill -9 $$\n',
  );
  await chmod(join(programs, 'resize2fs'), 0o755);
  process.env['PATH'] = `${programs}:${path}`;
  await expect(lab.publish(id)).rejects.toMatchObject({ kind: 'precondition' });
  process.env['PATH'] = path;

  const target = await lab.publish(id);
  expect(await readFile(join(target, 'data'), 'utf8')).toBe('kept');
  expect((await lab.storage.staging.stats(id, target)).totalBytes).toBeGreaterThan(40n * MIB);
});

it('a file system that was mounted and not grown at a kill grows when it is attached again', async () => {
  await using lab = await startStorageLab({ backend: 'image', poolBytes: 2048n * MIB });
  const id = await makeVolume(lab, 'xfs', 320n);
  const target = join(lab.directory, 'target');
  const before = (await lab.storage.staging.stats(id, target)).totalBytes;
  await lab.restart(() => truncate(join(lab.mountPoint, 'volumes', `${id}.img`), Number(640n * MIB)));
  expect((await lab.storage.staging.stats(id, target)).totalBytes).toBeGreaterThan(before + 250n * MIB);
  expect(await readFile(join(target, 'data'), 'utf8')).toBe('kept');
});
