import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { VolumeRequest } from '../../../src/core/volumes/volume-request.ts';
import { PASSPHRASE_FIELD } from '../../../src/core/volumes/encryption.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { capability, startCsiLab } from './csi-lab.ts';
import { MIB, requireRoot, type StorageLab, startStorageLab } from './storage-lab.ts';

const PLAINTEXT = 'the plaintext that must not be on the disk';
const SECRET = { [PASSPHRASE_FIELD]: 'correct horse battery staple' };
const OTHER = { [PASSPHRASE_FIELD]: 'incorrect horse battery staple' };
const exactly = (mebibytes: number): VolumeRequest['range'] => ({
  requiredBytes: BigInt(mebibytes) * MIB,
  limitBytes: 0n,
});

beforeEach(async (context) => {
  requireRoot(context);
  const supported = await stat('/sys/fs/ext4/features/encryption').catch(() => undefined);
  if (supported === undefined) context.skip('this kernel has no encryption for ext4 (CONFIG_FS_ENCRYPTION)');
});

describe('an encrypted volume', () => {
  it('leaves no plaintext on the disk, unlike an unencrypted volume', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const plain = await make(lab, 'plain', { encrypted: false });
    const secret = await make(lab, 'secret');
    const needles = { plain: `plain: ${PLAINTEXT}`, secret: `secret: ${PLAINTEXT}` };
    await writeDurably(join(await show(lab, plain, {}), 'file'), needles.plain);
    await writeDurably(join(await show(lab, secret, SECRET), 'name-that-must-not-be-found'), needles.secret);
    await hide(lab, plain);
    await hide(lab, secret);
    await runCommand('sync', ['--file-system', lab.mountPoint]);

    const disk = await readFile(lab.poolFile);
    expect(disk.includes(needles.plain)).toBe(true);
    expect(disk.includes(needles.secret)).toBe(false);
    expect(disk.includes('name-that-must-not-be-found')).toBe(false);
    const records = await readFile(join(lab.stateDir, 'volumes', `${secret}.json`), 'utf8');
    expect(records).toContain('keyIdentifier');
    expect(records).not.toContain(SECRET[PASSPHRASE_FIELD]);
  });

  it('opens only with the passphrase of its first staging, and is not mounted with another', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    const refused = async (secrets: Record<string, string>, kind: string, words: RegExp): Promise<void> => {
      const error: unknown = await stage(lab, id, secrets).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ kind });
      expect(String(error)).toMatch(words);
      for (const value of Object.values(secrets)) expect(String(error)).not.toContain(value);
      expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(id);
    };
    await refused({}, 'invalid', /no Secret came with the call/);
    await refused({ password: 'abcdefghijklmnopq' }, 'invalid', /no field encryptionPassphrase among its 1/);
    await refused({ [PASSPHRASE_FIELD]: 'too short' }, 'invalid', /shorter than 16 characters/);

    await writeDurably(join(await show(lab, id, SECRET), 'file'), 'data');
    await hide(lab, id);
    await refused(
      OTHER,
      'precondition',
      /another passphrase.*nodeStageSecretRef of PersistentVolume v names it/,
    );
    const target = await show(lab, id, SECRET);
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('data');
    expect(await readdir(target)).toEqual(['file']);
  });

  it('has no key after it was unstaged', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    await writeDurably(join(await show(lab, id, SECRET), 'file'), 'data');
    // A foreign mount keeps the file system alive, and with it every key that was not removed.
    await using elsewhere = await mountElsewhere(lab, id);
    expect(await readdir(elsewhere.data)).toEqual(['file']);
    await hide(lab, id);
    const [name = ''] = await readdir(elsewhere.data);
    expect(name).not.toBe('file');
    await expect(readFile(join(elsewhere.data, name))).rejects.toMatchObject({ errno: -126 });
    expect(await readFile(join(await show(lab, id, SECRET), 'file'), 'utf8')).toBe('data');
  });

  it('is not unstaged while its files are open or it is published: its key would stay', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    const target = await show(lab, id, SECRET);
    await writeDurably(join(target, 'file'), 'data');
    await expect(lab.storage.staging.unstage(id, stagingOf(lab))).rejects.toMatchObject({
      kind: 'precondition',
    });
    const holder = await holdOpen(join(target, 'file'));
    try {
      await lab.storage.staging.unpublish(id, target);
      await expect(lab.storage.staging.unstage(id, stagingOf(lab))).rejects.toMatchObject({ kind: 'busy' });
    } finally {
      holder.kill('SIGKILL');
      await once(holder, 'exit');
    }
    await lab.storage.staging.unstage(id, stagingOf(lab));
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(id);
  });

  it('stays usable over a restart of the agent, also for new pods, without its Secret', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    const target = await show(lab, id, SECRET);
    await writeDurably(join(target, 'file'), 'data');
    await lab.restart();
    await writeDurably(join(target, 'more'), 'data');
    await publish(lab, id, 'second');
    expect((await readdir(join(lab.directory, 'second'))).sort()).toEqual(['file', 'more']);
  });

  it('waits for its Secret after a reboot, and after a crash between the loss of its key and its unmounting', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    const target = await show(lab, id, SECRET);
    const place = join(lab.stateDir, 'mounts', 'default', id);
    await writeDurably(join(target, 'file'), 'data');
    await lab.restart(() => runCommand('umount', [target, place]).then(() => undefined));
    await expect(publish(lab, id, `target-${id}`)).rejects.toThrow(/no key in the kernel: stage it again/);
    expect(await readFile(join(await show(lab, id, SECRET), 'file'), 'utf8')).toBe('data');

    await lab.restart(async () => {
      await runCommand('umount', [target]);
      const { encryption } = lab.storage.volumes.get(id);
      await lab.kernel.call('removeEncryptionKey', place, encryption?.keyIdentifier ?? '');
    });
    await expect(publish(lab, id, `target-${id}`)).rejects.toThrow(/no key in the kernel: stage it again/);
    expect(await readFile(join(await show(lab, id, SECRET), 'file'), 'utf8')).toBe('data');
  });

  it('completes a first staging that a crash interrupted before the directory was encrypted', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    {
      await using elsewhere = await mountElsewhere(lab, id);
      await mkdir(elsewhere.data);
    }
    await writeDurably(join(await show(lab, id, SECRET), 'file'), 'data');
    await hide(lab, id);
    await using elsewhere = await mountElsewhere(lab, id);
    expect(await readdir(elsewhere.data)).not.toContain('file');
  });

  it('shares its passphrase with clones, snapshots and restored volumes, which can grow', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const id = await make(lab, 'v');
    await writeDurably(join(await show(lab, id, SECRET), 'file'), 'data');
    const snapshot = await lab.storage.snapshots.create('s', id);
    const [member] = (await lab.storage.groups.create('g', [id])).members;
    const sources = [
      { kind: 'volume', id },
      { kind: 'snapshot', id: snapshot.id },
      { kind: 'snapshot', id: member?.id ?? '' },
    ] as const;
    for (const source of sources) {
      const copy = (name: string, encrypted: boolean): Promise<string> =>
        make(lab, name, { source, encrypted, range: exactly(64) });
      await expect(copy(`plain-${source.id}`, false)).rejects.toThrow(/the source is encrypted, and so is/);
      const copied = await copy(`copy-${source.id}`, true);
      await expect(stage(lab, copied, OTHER)).rejects.toMatchObject({ kind: 'precondition' });
      const target = await show(lab, copied, SECRET);
      expect(await readFile(join(target, 'file'), 'utf8')).toBe('data');
      expect((await lab.storage.staging.stats(copied, target)).totalBytes).toBeGreaterThan(40n * MIB);
      await writeDurably(join(target, 'own'), 'data');
    }
    expect(await readdir(join(lab.directory, `target-${id}`))).toEqual(['file']);
    const plain = await make(lab, 'plain', { encrypted: false });
    const from = { kind: 'volume', id: plain } as const;
    await expect(make(lab, 'late', { source: from })).rejects.toThrow(/the source is not encrypted/);
  });

  it('is refused without support for encryption', async () => {
    await using lab = await startStorageLab({ backend: 'image' });
    const block = { volumeMode: 'Block', fsType: undefined } as const;
    await expect(make(lab, 'b', block)).rejects.toThrow(/no storage pool for encryption, Block/);
    await expect(make(lab, 'b', { ...block, pool: 'default' })).rejects.toThrow(/Block volume cannot be enc/);
    await expect(make(lab, 'x', { fsType: 'xfs', pool: 'default' })).rejects.toThrow(
      /xfs cannot be encrypted/,
    );
    await using btrfs = await startStorageLab({ backend: 'btrfs' });
    await expect(make(btrfs, 'v', { pool: 'default' })).rejects.toThrow(/does not support encrypted volumes/);
  });
});

describe('over CSI', () => {
  it('uses the Secret of NodeStageVolume, and that of an ephemeral volume', async () => {
    await using csi = await startCsiLab({ backend: 'image' });
    const parameters = { encrypted: 'true' };
    await expect(csi.createVolume('x', 16, { parameters: { encrypted: 'yes' } })).rejects.toMatchObject({
      kind: 'invalid',
    });
    const id = await csi.createVolume('v', 16, { parameters });
    await expect(csi.publish(id, 'target')).rejects.toMatchObject({ kind: 'invalid' });
    const target = await csi.publish(id, 'target', { secrets: SECRET });
    await writeFile(join(target, 'file'), 'data');

    const handle = `csi-${'7'.repeat(64)}`;
    const inline = {
      volume_id: handle,
      target_path: join(csi.lab.directory, 'inline'),
      volume_capability: capability('SINGLE_NODE_WRITER'),
      volume_context: { 'csi.storage.k8s.io/ephemeral': 'true', encrypted: 'true', size: '16Mi' },
    };
    await expect(csi.node('NodePublishVolume', inline)).rejects.toMatchObject({ kind: 'invalid' });
    await csi.node('NodePublishVolume', { ...inline, secrets: SECRET });
    await writeFile(join(inline.target_path, 'file'), 'data');
    const [inlineVolume] = (await csi.lab.storage.health.report()).volumes.filter(
      ({ ephemeral }) => ephemeral,
    );
    expect(inlineVolume?.encryption?.keyIdentifier).toMatch(/^[0-9a-f]{32}$/);
    await csi.node('NodeUnpublishVolume', { volume_id: handle, target_path: inline.target_path });
    expect((await csi.lab.storage.health.report()).volumes.map((volume) => volume.id)).toEqual([id]);
  });
});

async function make(lab: StorageLab, name: string, more: Partial<VolumeRequest> = {}): Promise<string> {
  const { id } = await lab.storage.volumes.create({
    name,
    pool: undefined,
    range: exactly(32),
    source: undefined,
    encrypted: true,
    ...more,
  });
  return id;
}

function stagingOf({ directory }: StorageLab): string {
  return join(directory, 'staging');
}

async function stage(lab: StorageLab, id: string, secrets: Record<string, string>): Promise<void> {
  await lab.storage.staging.stage(id, stagingOf(lab), { secrets });
}

async function publish(lab: StorageLab, volumeId: string, name: string): Promise<string> {
  const target = join(lab.directory, name);
  const stagingPath = stagingOf(lab);
  const how = { readonly: false, flags: [], accessMode: 'SINGLE_NODE_MULTI_WRITER' } as const;
  await lab.storage.staging.publish({ volumeId, stagingPath, target, ...how });
  return target;
}

/** Stages and publishes; returns the target. */
async function show(lab: StorageLab, id: string, secrets: Record<string, string>): Promise<string> {
  await stage(lab, id, secrets);
  return await publish(lab, id, `target-${id}`);
}

async function hide(lab: StorageLab, id: string): Promise<void> {
  for (const { target } of lab.storage.volumes.get(id).published)
    await lab.storage.staging.unpublish(id, target);
  await lab.storage.staging.unstage(id, stagingOf(lab));
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, 'w');
  await file.writeFile(text);
  await file.sync();
}

/** Mounts the volume's file outside of the agent, as an administrator would. */
async function mountElsewhere(
  lab: StorageLab,
  id: string,
): Promise<AsyncDisposable & { readonly data: string }> {
  const place = await mkdtemp(join(lab.directory, 'elsewhere-'));
  const device = await lab.kernel.call('attachLoop', join(lab.mountPoint, 'volumes', `${id}.img`));
  await runCommand('mount', [device.path, place]);
  await lab.kernel.call('closeLoop', { fd: device.fd });
  return {
    data: join(place, 'data'),
    async [Symbol.asyncDispose]() {
      await runCommand('umount', [place]);
      await rm(place, { recursive: true });
    },
  };
}

/** Starts a process with an open file in its own mount namespace. */
async function holdOpen(file: string): Promise<ChildProcess> {
  const script = `exec 3<'${file}'; echo open; exec sleep 600`;
  const child = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}
