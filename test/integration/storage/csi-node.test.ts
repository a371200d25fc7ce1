import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { hostSelinux } from '../../../node-agent/linux/files/selinux.ts';
import { capability, type CsiLab, startCsiLab } from './csi-lab.ts';
import { fill, MIB, requireRoot } from './storage-lab.ts';

const HANDLE = `csi-${'5'.repeat(64)}`;

/** By the first check that fails: the backend's, then the host's. */
const REFUSED_CONTEXT = {
  btrfs: { kind: 'invalid', message: expect.stringMatching(/one file system.*backend image/) as string },
  image: {
    kind: 'precondition',
    message: expect.stringMatching(/context system_u:.*: .*(no SELinux|no policy is loaded)/) as string,
  },
} as const;

beforeEach((context) => requireRoot(context));

describe.each(['btrfs', 'image'] as const)('on backend %s', (backend) => {
  const start = (): Promise<CsiLab> => startCsiLab({ backend });

  it('creates an ephemeral volume with its pod and removes it with the pod', async () => {
    await using csi = await start();
    const target = join(csi.lab.directory, 'pod');
    const publish = (attributes: Record<string, string>) =>
      csi.node('NodePublishVolume', {
        volume_id: HANDLE,
        target_path: target,
        volume_capability: capability('SINGLE_NODE_WRITER'),
        volume_context: {
          'csi.storage.k8s.io/ephemeral': 'true',
          'csi.storage.k8s.io/pod.name': 'p',
          ...attributes,
        },
      });
    for (const attributes of [{ sise: '32Mi' }, { size: 'large' }, { size: '0' }, { pool: 'unknown' }]) {
      await expect(publish(attributes), JSON.stringify(attributes)).rejects.toMatchObject({
        kind: 'invalid',
      });
    }
    expect((await csi.lab.storage.health.report()).volumes).toEqual([]);

    await publish({ size: '32Mi', pool: 'default' });
    await publish({ size: '32Mi', pool: 'default' });
    await writeFile(join(target, 'file'), 'data');
    expect(await fill(join(target, 'large'), 40)).toMatch(/EDQUOT|ENOSPC/);
    const stats = await csi.node('NodeGetVolumeStats', { volume_id: HANDLE, volume_path: target });
    expect(BigInt(stats.usage[0]?.total ?? 0)).toBeLessThanOrEqual(32n * MIB);
    expect((await csi.controller('ListVolumes', {})).entries).toEqual([]);
    expect(await csi.node('NodeGetVolumeHealth', { volume_id: HANDLE, volume_publish_path: target })).toEqual(
      { volume_health: { volume_id: HANDLE, health_statuses: [] } },
    );

    await csi.lab.restart();
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('data');
  });

  it('leaves nothing behind of a pod that ended', async () => {
    await using csi = await start();
    const target = join(csi.lab.directory, 'pod');
    const volume = { volume_id: HANDLE, target_path: target };
    await csi.node('NodePublishVolume', {
      ...volume,
      volume_capability: capability('SINGLE_NODE_WRITER'),
      volume_context: { 'csi.storage.k8s.io/ephemeral': 'true', size: '32Mi' },
    });
    await writeFile(join(target, 'file'), 'data');
    await csi.node('NodeUnpublishVolume', volume);
    await csi.node('NodeUnpublishVolume', volume);
    expect((await csi.lab.storage.health.report()).volumes).toEqual([]);
    expect(await readdir(csi.lab.directory)).not.toContain('pod');
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(target);
  });

  it('refuses writes at a read-only target, and allows them at others', async () => {
    await using csi = await start();
    const id = await csi.createVolume('v', 32);
    const [writer, reader, byMode, byOption] = [
      await csi.publish(id, 'writer'),
      await csi.publish(id, 'reader', { readonly: true }),
      await csi.publish(id, 'mode', { volume_capability: capability('SINGLE_NODE_READER_ONLY') }),
      await csi.publish(id, 'option', {
        volume_capability: {
          mount: { mount_flags: ['ro'] },
          access_mode: { mode: 'SINGLE_NODE_MULTI_WRITER' },
        },
      }),
    ];
    await writeFile(join(writer, 'file'), 'data');
    for (const place of [reader, byMode, byOption]) {
      expect(await readFile(join(place, 'file'), 'utf8')).toBe('data');
      await expect(writeFile(join(place, 'file'), 'changed')).rejects.toMatchObject({ code: 'EROFS' });
    }
    for (const target_path of [writer, reader, byMode, byOption]) {
      await csi.node('NodeUnpublishVolume', { volume_id: id, target_path });
    }
  });

  it('allows the mount options of a single mount, and keeps them', async () => {
    await using csi = await start();
    const id = await csi.createVolume('v', 32);
    const withFlags = (...mount_flags: string[]) => ({
      volume_capability: { mount: { mount_flags }, access_mode: { mode: 'SINGLE_NODE_WRITER' as const } },
    });
    for (const flag of ['remount', 'bind', 'subvolid=5', 'data=journal', 'context=x', 'loop=/dev/loop0']) {
      await expect(csi.publish(id, 'refused', withFlags(flag)), flag).rejects.toMatchObject({
        kind: 'invalid',
      });
    }
    const target = await csi.publish(id, 'target', withFlags('noexec', 'nosuid,nodev', 'noatime'));
    const mounts = await readFile('/proc/self/mountinfo', 'utf8');
    const [line] = mounts.split('\n').filter((entry) => entry.includes(` ${target} `));
    expect(line?.split(' ')[5]?.split(',')).toEqual(
      expect.arrayContaining(['rw', 'noexec', 'nosuid', 'nodev', 'noatime']),
    );
    await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
  });

  it('refuses a context on a host without SELinux, and on a file system that volumes share', async (context) => {
    if ((await hostSelinux.read()) === 'active') context.skip('this host has SELinux');
    await using csi = await start();
    const volume_capability = {
      mount: { mount_flags: ['context="system_u:object_r:container_file_t:s0:c1,c2"'] },
      access_mode: { mode: 'SINGLE_NODE_MULTI_WRITER' as const },
    };
    const refused = REFUSED_CONTEXT[backend];
    const id = await csi.createVolume('v', 32);
    await expect(csi.publish(id, 'target', { volume_capability })).rejects.toMatchObject(refused);
    const published = { volume_id: id, target_path: await csi.publish(id, 'target') };
    const staging_target_path = join(csi.lab.directory, `staging-${id}`);
    const target_path = join(csi.lab.directory, 'other');
    const other = { volume_id: id, staging_target_path, target_path, volume_capability };
    await expect(csi.node('NodePublishVolume', other)).rejects.toMatchObject(refused);
    const inline = { ...other, volume_context: { 'csi.storage.k8s.io/ephemeral': 'true', size: '32Mi' } };
    await expect(csi.node('NodePublishVolume', { ...inline, volume_id: HANDLE })).rejects.toMatchObject(
      refused,
    );
    expect((await csi.lab.storage.health.report()).volumes.map((found) => found.id)).toEqual([id]);
    await csi.node('NodeUnpublishVolume', published);
  });

  it('grows a volume in use, and completes an interrupted expansion in NodeExpandVolume', async () => {
    await using csi = await start();
    // A mounted ext4 grows only with CAP_SYS_RESOURCE.
    const writer = { mount: { fs_type: 'btrfs' }, access_mode: { mode: 'SINGLE_NODE_WRITER' as const } };
    const id = await csi.createVolume('v', 128, { volume_capabilities: [writer] });
    const target = await csi.publish(id, 'target');
    const node = { volume_id: id, volume_path: target };
    const range = { required_bytes: String(256n * MIB) };
    await expect(csi.node('NodeExpandVolume', { ...node, capacity_range: range })).rejects.toMatchObject({
      kind: 'out-of-range',
    });
    await csi.controller('ControllerExpandVolume', { volume_id: id, capacity_range: range });
    expect(await csi.node('NodeExpandVolume', { ...node, capacity_range: range })).toEqual({
      capacity_bytes: String(256n * MIB),
    });
    expect(await csi.node('NodeExpandVolume', node)).toEqual({ capacity_bytes: String(256n * MIB) });
    expect(await fill(join(target, 'file'), 140)).toBe('ok');
    await expect(
      csi.node('NodeExpandVolume', { ...node, volume_path: csi.lab.directory }),
    ).rejects.toMatchObject({ kind: 'not-found' });
    await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
  });

  it('publishes a Block volume as a device, read-only on request', async () => {
    await using csi = await start();
    const block = { volume_capability: capability('SINGLE_NODE_MULTI_WRITER', 'block') };
    const id = await csi.createVolume('v', 16, { volume_capabilities: [block.volume_capability] });
    await expect(csi.publish(id, 'directory')).rejects.toMatchObject({ kind: 'invalid' });
    const target = await csi.publish(id, 'device', block);
    {
      await using device = await open(target, 'r+');
      expect((await device.stat()).isBlockDevice()).toBe(true);
      await device.write(Buffer.from('data'), 0, 4, 4096);
      await device.sync();
    }
    await expect(csi.publish(id, 'reader', { ...block, readonly: true })).rejects.toMatchObject({
      kind: 'precondition',
    });
    await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
    const reader = await csi.publish(id, 'reader', { ...block, readonly: true });
    {
      await using device = await open(reader, 'r');
      const { buffer } = await device.read(Buffer.alloc(4), 0, 4, 4096);
      expect(buffer.toString()).toBe('data');
      await expect(
        open(reader, 'r+').then((handle) => handle.write('x').finally(() => handle.close())),
      ).rejects.toThrow();
    }
    await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: reader });
  });
});

it('creates snapshots on its own node with their topology, and refuses other nodes', async () => {
  await using csi = await startCsiLab();
  const id = await csi.createVolume('v');
  const at = (node: string) => ({ segments: { 'topology.keelson.dev/node': node } });
  const request = { name: 's', source_volume_id: id };
  await expect(
    csi.controller('CreateSnapshot', {
      ...request,
      accessibility_requirements: { requisite: [at('node-b')] },
    }),
  ).rejects.toMatchObject({ kind: 'exhausted' });
  expect(csi.lab.storage.snapshots.list()).toEqual([]);
  const { snapshot } = await csi.controller('CreateSnapshot', {
    ...request,
    accessibility_requirements: { requisite: [at('node-b'), at('node-a')], preferred: [at('node-b')] },
  });
  expect(snapshot?.accessible_topology).toEqual([at('node-a')]);
  const { entries } = await csi.controller('ListSnapshots', {});
  expect(entries.map((entry) => entry.snapshot?.accessible_topology)).toEqual([[at('node-a')]]);
  const { capabilities } = await csi.client.call('csi.v1.Identity', 'GetPluginCapabilities', {}, {});
  expect(capabilities.map(({ service }) => service?.type)).toContain('SNAPSHOT_ACCESSIBILITY_CONSTRAINTS');
});
