import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { registrationSocket, serveRegistration } from '../../../node-agent/csi/registration.ts';
import { connectRpc } from '../../../src/rpc/client.ts';
import type { RequestOf } from '../../../src/rpc/services.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { capability, startCsiLab } from './csi-lab.ts';
import { requireRoot } from './storage-lab.ts';

const MIB = 2 ** 20;
const WRITER = capability('SINGLE_NODE_WRITER');

beforeEach((context) => requireRoot(context));

it('reports its name, capabilities and topology to kubelet', async () => {
  await using csi = await startCsiLab();
  const info = await csi.client.call('csi.v1.Identity', 'GetPluginInfo', {}, {});
  expect(info).toMatchObject({ name: 'keelson.dev', vendor_version: '1.2.3' });
  expect(await csi.node('NodeGetInfo', {})).toMatchObject({
    node_id: 'node-a',
    max_volumes_per_node: '7',
    accessible_topology: { segments: { 'topology.keelson.dev/node': 'node-a' } },
  });
});

it("creates an ephemeral volume by a StorageClass's parameters, and refuses others", async () => {
  await using csi = await startCsiLab();
  const publish = (attributes: Record<string, string>) =>
    csi.node('NodePublishVolume', {
      volume_id: `csi-${'0'.repeat(64)}`,
      target_path: join(csi.lab.directory, 'target'),
      volume_capability: WRITER,
      volume_context: { 'csi.storage.k8s.io/ephemeral': 'true', size: '16Mi', ...attributes },
    });
  await expect(publish({ poolSelector: 'media=ssd' })).rejects.toMatchObject({ kind: 'exhausted' });
  await expect(publish({ poolSelector: 'media=!' })).rejects.toThrow(
    /volumeAttributes: poolSelector: invalid label selector "media=!"/,
  );
  await publish({ poolSelector: 'media!=hdd' });
  expect(csi.lab.storage.ephemerals.find(`csi-${'0'.repeat(64)}`)).toMatchObject({ pool: 'default' });
  await csi.node('NodeUnpublishVolume', {
    volume_id: `csi-${'0'.repeat(64)}`,
    target_path: join(csi.lab.directory, 'target'),
  });
});

it('refuses unsupported requests with the codes of CSI', async () => {
  await using csi = await startCsiLab();
  const base = { name: 'v', volume_capabilities: [WRITER] };
  const elsewhere = { requisite: [{ segments: { 'topology.keelson.dev/node': 'node-b' } }] };
  const EXT4 = { mount: { fs_type: 'ext4' }, access_mode: WRITER.access_mode };
  const refusals: (readonly [string, RequestOf<'csi.v1.Controller', 'CreateVolume'>])[] = [
    ['invalid', { ...base, volume_capabilities: [capability('MULTI_NODE_MULTI_WRITER')] }],
    ['invalid', { ...base, volume_capabilities: [WRITER, { block: {}, access_mode: WRITER.access_mode }] }],
    ['invalid', { ...base, volume_capabilities: [EXT4], parameters: { pool: 'default' } }],
    ['invalid', { ...base, parameters: { backend: 'lvm' } }],
    ['invalid', { ...base, parameters: { poolSelector: 'media in ssd' } }],
    ['invalid', { ...base, parameters: { pool: 'default', poolSelector: 'media=ssd' } }],
    // Another node may have such a pool.
    ['exhausted', { ...base, volume_capabilities: [EXT4] }],
    ['exhausted', { ...base, parameters: { backend: 'image' } }],
    ['exhausted', { ...base, parameters: { poolSelector: 'media=ssd' } }],
    ['invalid', { ...base, parameters: { pol: 'default' } }],
    ['invalid', { ...base, parameters: { pool: 'unknown' } }],
    ['invalid', { ...base, mutable_parameters: { iops: '5' } }],
    ['invalid', { ...base, name: 'a\u0001b' }],
    ['out-of-range', { ...base, capacity_range: { limit_bytes: '1' } }],
    ['exhausted', { ...base, capacity_range: { required_bytes: String(2 ** 50) } }],
    ['exhausted', { ...base, accessibility_requirements: elsewhere }],
    ['not-found', { ...base, volume_content_source: { snapshot: { snapshot_id: '../../x' } } }],
  ];
  for (const [kind, request] of refusals) {
    await expect(csi.controller('CreateVolume', request), JSON.stringify(request)).rejects.toMatchObject({
      kind,
    });
  }
  expect(csi.lab.storage.volumes.list()).toEqual([]);
  const reserved = { 'csi.storage.k8s.io/pvc/name': 'claim', pool: 'default' };
  await csi.controller('CreateVolume', {
    ...base,
    parameters: reserved,
    capacity_range: { required_bytes: String(MIB) },
  });
});

it('lists volumes in pages that survive changes', async () => {
  await using csi = await startCsiLab();
  const ids = await Promise.all(['a', 'b', 'c', 'd'].map((name) => csi.createVolume(name)));
  ids.sort();
  const first = await csi.controller('ListVolumes', { max_entries: 2 });
  await csi.controller('DeleteVolume', { volume_id: ids[1] ?? '' });
  const rest = await csi.controller('ListVolumes', { starting_token: first.next_token });
  const shown = [...first.entries, ...rest.entries].map(({ volume }) => volume?.volume_id);
  expect(shown).toEqual(ids);
  expect(rest.next_token).toBe('');
});

it('reports a capacity that shrinks by promised sizes, and none for other nodes', async () => {
  await using csi = await startCsiLab();
  const before = await csi.controller('GetCapacity', {});
  expect(before.maximum_volume_size?.value).toBe(before.available_capacity);
  await csi.createVolume('v', 100);
  const after = await csi.controller('GetCapacity', {});
  const shrunk = BigInt(before.available_capacity) - BigInt(after.available_capacity);
  expect(shrunk).toBeGreaterThan(BigInt(99 * MIB));
  expect(shrunk).toBeLessThan(BigInt(102 * MIB));
  expect(await csi.controller('GetCapacity', { parameters: { poolSelector: '!media' } })).toEqual(after);
  expect(await csi.controller('GetCapacity', { parameters: { poolSelector: 'media' } })).toMatchObject({
    available_capacity: '0',
  });
  const topology = { segments: { 'topology.keelson.dev/node': 'node-b' } };
  expect(await csi.controller('GetCapacity', { accessible_topology: topology })).toMatchObject({
    available_capacity: '0',
    maximum_volume_size: { value: '0' },
  });
});

it('publishes a single-writer volume at one target only', async () => {
  await using csi = await startCsiLab();
  const id = await csi.createVolume('v');
  const staging = join(csi.lab.directory, 'staging');
  await mkdir(staging);
  const common = {
    volume_id: id,
    staging_target_path: staging,
    volume_capability: capability('SINGLE_NODE_SINGLE_WRITER'),
  };
  const [a, b] = [join(csi.lab.directory, 'a'), join(csi.lab.directory, 'b')];
  await expect(csi.node('NodePublishVolume', { ...common, target_path: a })).rejects.toMatchObject({
    kind: 'precondition',
  });
  await csi.node('NodeStageVolume', common);
  await csi.node('NodePublishVolume', { ...common, target_path: a });
  await csi.node('NodePublishVolume', { ...common, target_path: a });
  await expect(csi.node('NodePublishVolume', { ...common, target_path: b })).rejects.toMatchObject({
    kind: 'precondition',
  });
  await expect(
    csi.node('NodePublishVolume', { ...common, target_path: a, readonly: true }),
  ).rejects.toMatchObject({ kind: 'conflict' });
  await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: a });
  await csi.node('NodePublishVolume', { ...common, target_path: b });
  await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: b });
});

it('reports health as of CSI 1.13, and as of 1.12 for older kubelets', async () => {
  await using csi = await startCsiLab();
  const [well, lost] = [await csi.createVolume('well'), await csi.createVolume('lost')];
  const target = await csi.lab.publish(lost);
  expect(await csi.node('NodeGetVolumeHealth', { volume_id: lost, volume_publish_path: target })).toEqual({
    volume_health: { volume_id: lost, health_statuses: [] },
  });
  expect(await csi.node('NodeGetVolumeStats', { volume_id: lost, volume_path: target })).toMatchObject({
    usage: [{ unit: 'BYTES' }],
    volume_condition: { abnormal: false },
  });
  await csi.lab.storage.staging.unpublish(lost, target);
  await rename(join(csi.lab.mountPoint, 'volumes', lost), join(csi.lab.mountPoint, 'volumes', 'taken-away'));

  const dataLoss = { volume_id: lost, health_statuses: [{ status: 'DATA_LOSS', reason: 'DataMissing' }] };
  expect(await csi.controller('ControllerListVolumeHealth', {})).toMatchObject({ entries: [dataLoss] });
  expect(await csi.controller('ControllerGetVolumeHealth', { volume_id: lost })).toMatchObject({
    volume_health: dataLoss,
  });
  expect(await csi.controller('ControllerGetVolumeHealth', { volume_id: well })).toEqual({
    volume_health: { volume_id: well, health_statuses: [] },
  });
  const { entries } = await csi.controller('ListVolumes', {});
  const conditions = new Map(
    entries.map(({ volume, status }) => [volume?.volume_id, status?.volume_condition?.abnormal]),
  );
  expect(conditions).toEqual(
    new Map([
      [well, false],
      [lost, true],
    ]),
  );
  await expect(csi.controller('ControllerListVolumeHealth', { starting_token: 'x' })).rejects.toMatchObject({
    kind: 'busy',
  });
  expect(await csi.node('NodeGetStorageHealth', {})).toEqual({ backend_health: [] });
  await rename(join(csi.lab.mountPoint, 'volumes', 'taken-away'), join(csi.lab.mountPoint, 'volumes', lost));
});

it('registers with kubelet on a socket of mode 0600, replacing a stale one', async () => {
  await using csi = await startCsiLab();
  const refused: string[] = [];
  const kubeletDir = csi.lab.directory;
  const deps = { logger: silentLogger, onRefused: (reason: string) => refused.push(reason) };
  for (let time = 0; time < 2; time += 1) {
    await using _server = await serveRegistration({ kubeletDir, endpoint: '/host/csi.sock' }, deps);
    const socket = registrationSocket(kubeletDir);
    expect((await stat(socket)).mode & 0o777).toBe(0o600);
    using kubelet = connectRpc(socket);
    expect(await kubelet.call('pluginregistration.Registration', 'GetInfo', {}, {})).toEqual({
      type: 'CSIPlugin',
      name: 'keelson.dev',
      endpoint: '/host/csi.sock',
      supported_versions: ['1.0.0'],
    });
    const answer = { plugin_registered: false, error: 'no such driver' };
    await kubelet.call('pluginregistration.Registration', 'NotifyRegistrationStatus', answer, {});
  }
  expect(refused).toEqual(['no such driver', 'no such driver']);
  expect(await readdir(join(kubeletDir, 'plugins_registry'))).toEqual([]);
});
