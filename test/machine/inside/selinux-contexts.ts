/**
 * Runs in an emulated machine whose kernel has SELinux and a policy, and whose agent serves CSI.
 * `make` stages and publishes a volume of each file system with a context, and leaves a file in it;
 * `check` looks what they have after a start of the agent or the machine, before anybody asked for
 * them; `end` takes them away, and shows what the kernel refuses by itself.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FS_TYPES, type FsType } from '../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { capability } from '../../integration/storage/csi-lab.ts';
import { connectKubelet, pathsOf } from './kubelet.ts';

const KEPT = '/root/contexts.json';
const MEBIBYTES: Readonly<Record<FsType, number>> = { ext4: 32, btrfs: 128, xfs: 300 };
const label = (categories: string): string => `system_u:object_r:container_file_t:s0:${categories}`;
const [ONE, OTHER] = [label('c1,c2'), label('c3,c4')];

const [verb = ''] = process.argv.slice(2);
using kubelet = connectKubelet();
await kubelet.probe();
assert.match(await readFile('/proc/self/attr/current', 'utf8'), /:/, 'no policy is loaded');
if (verb === 'make') await make();
else {
  const kept = JSON.parse(await readFile(KEPT, 'utf8')) as Record<FsType, string>;
  for (const type of FS_TYPES) await (verb === 'check' ? check : end)(type, kept[type]);
}
console.log(`${verb}: well, ${FS_TYPES.join(', ')}`);

async function make(): Promise<void> {
  const kept: Partial<Record<FsType, string>> = {};
  for (const fsType of FS_TYPES) {
    const id = await kubelet.create({
      ...{ name: `labelled ${fsType}`, pool: 'files' },
      ...{ fsType, mebibytes: MEBIBYTES[fsType] },
    });
    kept[fsType] = id;
    await isRefused(
      stage(id, 'system_u:object_r:unheard_of_t:s0'),
      'invalid',
      /policy of this node must define/,
    );
    await stage(id, ONE);
    const target = await publish(id, ONE);
    await writeFile(join(target, 'text'), fsType);
    await isLabelled(target, ONE);
    await isLabelled(await publish(id, undefined, 'inherits'), ONE);
    await isRefused(publish(id, OTHER, 'other'), 'precondition', new RegExp(`${ONE}.*${OTHER}`));
    await isRefused(stage(id, OTHER), 'precondition', new RegExp(`${ONE}.*${OTHER}`));
  }
  const shared = await kubelet.create({ name: 'shares a file system', pool: 'subvolumes' });
  await isRefused(stage(shared, ONE), 'invalid', /pool subvolumes \(btrfs\) has one file system/);
  await kubelet.controller('DeleteVolume', { volume_id: shared });
  await writeFile(KEPT, JSON.stringify(kept));
  await runCommand('sync', []);
}

async function check(fsType: FsType, id: string): Promise<void> {
  const place = `/var/lib/keelson/mounts/files/${id}`;
  assert.equal(await readFile(join(place, 'text'), 'utf8'), fsType);
  await isLabelled(place, ONE);
  await stage(id, ONE);
  await isLabelled(await publish(id, ONE), ONE);
}

/**
 * A process left behind in a mount namespace of its own keeps the file system mounted: it can have
 * its current label, or wait.
 */
async function end(_: FsType, id: string): Promise<void> {
  const script = `cd /var/lib/keelson/mounts/files/${id} && echo held && exec sleep 1d`;
  const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  try {
    await take(id);
    for (const context of [OTHER, undefined]) {
      await isRefused(
        stage(id, context),
        'precondition',
        /still mounted on this node, perhaps with another SELinux context/,
      );
    }
  } finally {
    holder.kill('SIGKILL');
    await once(holder, 'exit');
  }
  await stage(id, OTHER);
  await isLabelled(await publish(id, OTHER), OTHER);
  await take(id);
  await stage(id, undefined);
  const target = await publish(id, undefined);
  assert.doesNotMatch(await mountOf(target), /context=/);
  await take(id);
  await kubelet.controller('DeleteVolume', { volume_id: id });
}

function capabilityWith(context: string | undefined) {
  const mount_flags = context === undefined ? [] : [`context="${context}"`];
  return { ...capability('SINGLE_NODE_MULTI_WRITER'), mount: { mount_flags } };
}

async function stage(id: string, context: string | undefined): Promise<void> {
  const { target_path: _, ...staging } = pathsOf(id);
  await mkdir(staging.staging_target_path, { recursive: true });
  await kubelet.node('NodeStageVolume', { ...staging, volume_capability: capabilityWith(context) });
}

async function publish(id: string, context: string | undefined, name = 'target'): Promise<string> {
  const paths = pathsOf(id);
  const target_path = join(paths.target_path, '..', name);
  await kubelet.node('NodePublishVolume', {
    ...{ ...paths, target_path },
    volume_capability: capabilityWith(context),
  });
  return target_path;
}

/** Unpublishes and unstages it, as for the end of its last pod. */
async function take(id: string): Promise<void> {
  const { staging_target_path, target_path } = pathsOf(id);
  for (const path of [target_path, join(target_path, '../inherits')]) {
    await kubelet.node('NodeUnpublishVolume', { volume_id: id, target_path: path });
  }
  await kubelet.node('NodeUnstageVolume', { volume_id: id, staging_target_path });
  const record = await readFile(`/var/lib/keelson/volumes/${id}.json`, 'utf8');
  assert.doesNotMatch(record, /selinuxContext/);
}

async function isLabelled(place: string, context: string): Promise<void> {
  const shown = await runCommand('stat', ['--format', '%C', place, join(place, 'text')]);
  assert.deepEqual(shown.stdout.trim().split('\n'), [context, context], place);
  const mount = await mountOf(place);
  assert.ok(mount.includes(`context="${context}"`), mount);
  console.log(`${verb}: ${mount}`);
}

async function mountOf(place: string): Promise<string> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return lines.findLast((line) => line.split(' ')[4] === place) ?? `${place} is not a mount`;
}

async function isRefused(call: Promise<unknown>, kind: string, message: RegExp): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    const { message: found } = error as Error;
    console.log(`${verb}: ${found}`);
    assert.match(found, message);
    assert.equal((error as { readonly kind?: string }).kind, kind);
    return true;
  });
}
