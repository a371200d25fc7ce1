import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/core/fault.ts';
import type { RequestOf } from '../../src/rpc/services.ts';
import { capability, type CsiLab, startCsiLab } from '../integration/storage/csi-lab.ts';
import { MIB, requireRoot } from '../integration/storage/storage-lab.ts';

type CreateVolume = RequestOf<'csi.v1.Controller', 'CreateVolume'>;

const WRITER = capability('SINGLE_NODE_WRITER');
const bytes = (mebibytes: number): string => String(BigInt(mebibytes) * MIB);
/** Where an id of a caller could lead, if it ever became part of a path. */
const HOSTILE_IDS = [
  '../../etc/passwd',
  '/etc/passwd',
  '.',
  '..',
  'volumes',
  'vol-000000000000000000000000/../x',
  'vol-\u0000',
  'vol-ffffffffffffffffffffffff',
  'x'.repeat(5000),
];

beforeEach((context) => requireRoot(context));

describe.each(['btrfs', 'image'] as const)('on backend %s, beyond what csi-sanity asks', (backend) => {
  const start = (): Promise<CsiLab> => startCsiLab({ backend });
  const create = (csi: CsiLab, name: string, more: Partial<CreateVolume> = {}) =>
    csi.controller('CreateVolume', { name, volume_capabilities: [WRITER], ...more });

  it('a volume has exactly the requested size, and each invalid size has its own code', async () => {
    await using csi = await start();
    const sized = (name: string, required: string, limit: string) =>
      create(csi, name, { capacity_range: { required_bytes: required, limit_bytes: limit } });
    expect((await sized('exact', bytes(17), bytes(17))).volume?.capacity_bytes).toBe(bytes(17));
    expect((await sized('least', bytes(18), '0')).volume?.capacity_bytes).toBe(bytes(18));
    expect((await sized('most', '0', bytes(40))).volume?.capacity_bytes).toBe(bytes(40));
    await expect(sized('tiny', '0', '4096')).rejects.toMatchObject({ kind: 'out-of-range' });
    await expect(sized('negative', '-1', '0')).rejects.toMatchObject({ kind: 'invalid' });
    await expect(sized('upside-down', bytes(2), bytes(1))).rejects.toMatchObject({ kind: 'invalid' });
    await expect(sized('large', bytes(100_000), '0')).rejects.toMatchObject({ kind: 'exhausted' });
    await expect(sized('exact', bytes(18), '0')).rejects.toMatchObject({ kind: 'conflict' });
    expect(csi.lab.storage.volumes.list()).toHaveLength(3);
  });

  it('a fully allocated pool refuses volumes, and a deletion restores its capacity', async () => {
    await using csi = await start();
    const { available_capacity: all } = await csi.controller('GetCapacity', {});
    const half = String((BigInt(all) / 2n) & ~(MIB - 1n));
    const range = { required_bytes: half, limit_bytes: half };
    const first = await create(csi, 'first', { capacity_range: range });
    await create(csi, 'second', { capacity_range: range });
    await expect(create(csi, 'third', { capacity_range: range })).rejects.toMatchObject({
      kind: 'exhausted',
    });
    await expect(
      csi.controller('ControllerExpandVolume', {
        volume_id: first.volume?.volume_id ?? '',
        capacity_range: { required_bytes: all },
      }),
    ).rejects.toMatchObject({ kind: 'exhausted' });
    await csi.controller('DeleteVolume', { volume_id: first.volume?.volume_id ?? '' });
    // What was deleted is removed in the background.
    await whileCollecting(csi, async () => {
      const available = async () => BigInt((await csi.controller('GetCapacity', {})).available_capacity);
      await expect.poll(available, { timeout: 60_000 }).toBeGreaterThanOrEqual(BigInt(half));
    });
    await create(csi, 'third', { capacity_range: range });
  });

  it('a name is any text of at most 128 bytes without control characters, and is case-sensitive', async () => {
    await using csi = await start();
    const small = { capacity_range: { required_bytes: bytes(16) } };
    const names = ['größe/../../etc', '卷 一', 'a', 'A', '.', 'tab\tline\n', '😀'.repeat(32), 'é'.repeat(64)];
    const ids = new Set<string>();
    for (const name of names) {
      const { volume } = await create(csi, name, small);
      const again = await create(csi, name, small);
      expect(again.volume?.volume_id, name).toBe(volume?.volume_id);
      ids.add(volume?.volume_id ?? '');
    }
    expect(ids.size).toBe(names.length);
    for (const name of [
      '',
      '\u0000',
      'a\u0007b',
      'a\u001fb',
      'a\u007fb',
      'a\u009fb',
      '😀'.repeat(32) + 'x',
    ]) {
      await expect(create(csi, name, small), JSON.stringify(name)).rejects.toMatchObject({ kind: 'invalid' });
    }
  });

  it('a restored volume has the data of its snapshot, a clone the current data, and both are independent', async () => {
    await using csi = await start();
    const id = await csi.createVolume('source', 32);
    const source = await csi.publish(id, 'source');
    await writeFile(join(source, 'file'), 'before');
    const { snapshot } = await csi.controller('CreateSnapshot', { name: 's', source_volume_id: id });
    await writeFile(join(source, 'file'), 'after');
    const fromSnapshot = { snapshot: { snapshot_id: snapshot?.snapshot_id ?? '' } };
    const fromVolume = { volume: { volume_id: id } };
    const restored = await csi.createVolume('restored', 48, { volume_content_source: fromSnapshot });
    const cloned = await csi.createVolume('cloned', 32, { volume_content_source: fromVolume });
    await expect(
      csi.createVolume('smaller', 16, { volume_content_source: fromSnapshot }),
    ).rejects.toMatchObject({ kind: 'out-of-range' });
    const places = [await csi.publish(restored, 'restored'), await csi.publish(cloned, 'cloned')];
    const read = () => Promise.all([source, ...places].map((place) => readFile(join(place, 'file'), 'utf8')));
    expect(await read()).toEqual(['after', 'before', 'after']);
    await writeFile(join(places[0] ?? '', 'file'), 'restored');
    await writeFile(join(places[1] ?? '', 'file'), 'cloned');
    expect(await read()).toEqual(['after', 'restored', 'cloned']);
  });

  it('pages of snapshots list each remaining snapshot exactly once while others are created and deleted', async () => {
    await using csi = await start();
    const volumes = [await csi.createVolume('a'), await csi.createVolume('b')];
    const ids: string[] = [];
    for (let number = 0; number < 6; number += 1) {
      const source = volumes[number % 2] ?? '';
      const { snapshot } = await csi.controller('CreateSnapshot', {
        name: `s${number}`,
        source_volume_id: source,
      });
      ids.push(snapshot?.snapshot_id ?? '');
    }
    ids.sort();
    const shown: (string | undefined)[] = [];
    let token = '';
    do {
      const page = await csi.controller('ListSnapshots', { max_entries: 2, starting_token: token });
      shown.push(...page.entries.map(({ snapshot }) => snapshot?.snapshot_id));
      // The last one shown is where the next page starts.
      if (token === '') await csi.controller('DeleteSnapshot', { snapshot_id: ids[1] ?? '' });
      token = page.next_token;
    } while (token !== '');
    expect(shown).toEqual(ids);
    const ofOne = await csi.controller('ListSnapshots', { source_volume_id: volumes[0] ?? '' });
    expect(ofOne.entries.every(({ snapshot }) => snapshot?.source_volume_id === volumes[0])).toBe(true);
  });

  it('a group snapshot has all of its volumes or does not exist, and its deletion deletes its members', async () => {
    await using csi = await start();
    const volumes = [await csi.createVolume('a', 32), await csi.createVolume('b', 32)];
    const places: string[] = [];
    for (const [index, id] of volumes.entries()) {
      const place = await csi.publish(id, `target-${index}`);
      await writeFile(join(place, 'file'), `before ${index}`);
      places.push(place);
    }
    const wanted = { name: 'g', source_volume_ids: volumes };
    const refusals: readonly (readonly [
      RequestOf<'csi.v1.GroupController', 'CreateVolumeGroupSnapshot'>,
      string,
    ])[] = [
      [{ ...wanted, source_volume_ids: [] }, 'invalid'],
      [{ ...wanted, source_volume_ids: [...volumes, volumes[0] ?? ''] }, 'invalid'],
      [{ ...wanted, source_volume_ids: [...volumes, '../../etc'] }, 'not-found'],
      [{ ...wanted, parameters: { colour: 'blue' } }, 'invalid'],
      [{ ...wanted, name: 'a\u0007b' }, 'invalid'],
    ];
    for (const [refused, kind] of refusals) {
      await expect(csi.group('CreateVolumeGroupSnapshot', refused)).rejects.toMatchObject({ kind });
    }
    expect((await csi.controller('ListSnapshots', {})).entries).toEqual([]);
    const { group_snapshot: group } = await csi.group('CreateVolumeGroupSnapshot', wanted);
    const again = await csi.group('CreateVolumeGroupSnapshot', wanted);
    expect(again.group_snapshot).toEqual(group);
    expect(group).toMatchObject({ ready_to_use: true });
    await expect(
      csi.group('CreateVolumeGroupSnapshot', { ...wanted, source_volume_ids: volumes.slice(1) }),
    ).rejects.toMatchObject({ kind: 'conflict' });
    for (const [index, place] of places.entries()) await writeFile(join(place, 'file'), `after ${index}`);

    const groupId = group?.group_snapshot_id ?? '';
    const members = group?.snapshots ?? [];
    const memberIds = members.map(({ snapshot_id: id }) => id);
    for (const [index, id] of volumes.entries()) {
      const member = members.find(({ source_volume_id: source }) => source === id);
      expect(member?.group_snapshot_id).toBe(groupId);
      const { snapshot } = await csi.controller('GetSnapshot', { snapshot_id: member?.snapshot_id ?? '' });
      expect(snapshot).toEqual(member);
      const restored = await csi.createVolume(`restored-${index}`, 32, {
        volume_content_source: { snapshot: { snapshot_id: member?.snapshot_id ?? '' } },
      });
      const shown = await csi.publish(restored, `restored-${index}`);
      expect(await readFile(join(shown, 'file'), 'utf8')).toBe(`before ${index}`);
    }

    const known = { group_snapshot_id: groupId, snapshot_ids: memberIds };
    const part = { ...known, snapshot_ids: memberIds.slice(1) };
    await expect(csi.controller('DeleteSnapshot', { snapshot_id: memberIds[0] ?? '' })).rejects.toMatchObject(
      {
        kind: 'invalid',
      },
    );
    await expect(csi.group('GetVolumeGroupSnapshot', part)).rejects.toMatchObject({ kind: 'invalid' });
    await expect(csi.group('DeleteVolumeGroupSnapshot', part)).rejects.toMatchObject({ kind: 'invalid' });
    expect((await csi.group('GetVolumeGroupSnapshot', known)).group_snapshot).toEqual(group);
    await csi.group('DeleteVolumeGroupSnapshot', known);
    await csi.group('DeleteVolumeGroupSnapshot', known);
    await expect(csi.group('GetVolumeGroupSnapshot', known)).rejects.toMatchObject({ kind: 'not-found' });
    expect((await csi.controller('ListSnapshots', {})).entries).toEqual([]);
  });

  it('an id that is a path is not found', async () => {
    await using csi = await start();
    await csi.createVolume('bystander');
    const before = await readdir(csi.lab.mountPoint, { recursive: true });
    const target = join(csi.lab.directory, 'target');
    const staged = { staging_target_path: join(csi.lab.directory, 'staging'), volume_capability: WRITER };
    for (const id of HOSTILE_IDS) {
      const notFound = [
        csi.controller('ControllerGetVolume', { volume_id: id }),
        csi.controller('ControllerGetVolumeHealth', { volume_id: id }),
        csi.controller('ControllerExpandVolume', { volume_id: id, capacity_range: { required_bytes: '1' } }),
        csi.controller('ValidateVolumeCapabilities', { volume_id: id, volume_capabilities: [WRITER] }),
        csi.controller('CreateSnapshot', { name: 's', source_volume_id: id }),
        create(csi, 'copy', { volume_content_source: { volume: { volume_id: id } } }),
        create(csi, 'copy-of-snapshot', { volume_content_source: { snapshot: { snapshot_id: id } } }),
        csi.node('NodeStageVolume', { volume_id: id, ...staged }),
        csi.node('NodePublishVolume', { volume_id: id, target_path: target, ...staged }),
        csi.node('NodeGetVolumeStats', { volume_id: id, volume_path: target }),
        csi.node('NodeGetVolumeHealth', { volume_id: id }),
        csi.node('NodeExpandVolume', { volume_id: id, volume_path: target }),
        csi.group('CreateVolumeGroupSnapshot', { name: 'g', source_volume_ids: [id] }),
        csi.group('GetVolumeGroupSnapshot', { group_snapshot_id: id }),
      ];
      for (const outcome of await Promise.allSettled(notFound)) {
        expect(outcome, id.slice(0, 40)).toMatchObject({ status: 'rejected', reason: { kind: 'not-found' } });
      }
      await csi.controller('DeleteVolume', { volume_id: id });
      await csi.controller('DeleteSnapshot', { snapshot_id: id });
      await csi.group('DeleteVolumeGroupSnapshot', { group_snapshot_id: id, snapshot_ids: [id] });
      await csi.node('NodeUnstageVolume', { volume_id: id, ...staged });
      await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
    }
    expect(await readdir(csi.lab.mountPoint, { recursive: true })).toEqual(before);
  });

  it('links in a volume are not followed by copies and removals, and a target that is a link is refused', async () => {
    await using csi = await start();
    const victim = join(csi.lab.directory, 'victim');
    await mkdir(victim);
    await writeFile(join(victim, 'file'), 'precious');
    const id = await csi.createVolume('v', 32);
    const target = await csi.publish(id, 'target');
    for (const [name, to] of [
      ['out', victim],
      ['up', '../../../../victim'],
      ['self', '.'],
    ] as const) {
      await symlink(to, join(target, name));
    }
    const { snapshot } = await csi.controller('CreateSnapshot', { name: 's', source_volume_id: id });
    await symlink(victim, join(csi.lab.directory, 'link'));
    await expect(csi.publish(id, 'link')).rejects.toMatchObject({ kind: 'precondition' });
    await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
    await csi.controller('DeleteVolume', { volume_id: id });
    await csi.controller('DeleteSnapshot', { snapshot_id: snapshot?.snapshot_id ?? '' });

    const left = async (): Promise<string[]> =>
      (
        await Promise.all(['volumes', 'snapshots'].map((kind) => readdir(join(csi.lab.mountPoint, kind))))
      ).flat();
    await whileCollecting(csi, () => expect.poll(left, { timeout: 60_000 }).toEqual([]));
    expect(await readFile(join(victim, 'file'), 'utf8')).toBe('precious');
  });

  it('pages of volumes list each remaining volume exactly once while others are created and deleted', async () => {
    await using csi = await start();
    const ids: string[] = [];
    for (let number = 0; number < 6; number += 1) ids.push(await csi.createVolume(`v${number}`));
    ids.sort();
    const shown: (string | undefined)[] = [];
    let token = '';
    do {
      const page = await csi.controller('ListVolumes', { max_entries: 2, starting_token: token });
      expect(page.entries.length).toBeLessThanOrEqual(2);
      shown.push(...page.entries.map(({ volume }) => volume?.volume_id));
      if (token === '') await csi.controller('DeleteVolume', { volume_id: ids[1] ?? '' });
      if (token === '') await csi.createVolume('late');
      token = page.next_token;
    } while (token !== '');
    const late = csi.lab.storage.volumes.list().find(({ name }) => name === 'late')?.id;
    expect(shown.filter((id) => id !== late)).toEqual(ids);
    expect(new Set(shown).size).toBe(shown.length);
  });

  it('a read-only publication cannot be written, and its data is unchanged', async () => {
    await using csi = await start();
    const id = await csi.createVolume('v', 32);
    const target = await csi.publish(id, 'writable');
    await writeFile(join(target, 'file'), 'kept');
    const shown = await csi.publish(id, 'read-only', { readonly: true });
    await expect(writeFile(join(shown, 'file'), 'lost')).rejects.toMatchObject({ code: 'EROFS' });
    await expect(mkdir(join(shown, 'directory'))).rejects.toMatchObject({ code: 'EROFS' });
    expect(await readFile(join(shown, 'file'), 'utf8')).toBe('kept');
    await writeFile(join(target, 'file'), 'written elsewhere');
    expect(await readFile(join(shown, 'file'), 'utf8')).toBe('written elsewhere');
  });

  it('200 concurrent operations on 20 volumes end with the codes of CSI, and leave nothing', async () => {
    await using csi = await start();
    const random = sequence(20_261_121);
    const names = Array.from({ length: 20 }, (_, number) => `v${number}`);
    const idOf = (name: string): string =>
      csi.lab.storage.volumes.list().find((volume) => volume.name === name)?.id ?? 'vol-none';
    const small = { capacity_range: { required_bytes: bytes(16) } };
    const operations: readonly ((name: string) => Promise<unknown>)[] = [
      (name) => create(csi, name, small),
      (name) => create(csi, name, small),
      (name) => csi.controller('DeleteVolume', { volume_id: idOf(name) }),
      (name) => csi.controller('CreateSnapshot', { name: `s-${name}`, source_volume_id: idOf(name) }),
      (name) =>
        csi.group('CreateVolumeGroupSnapshot', {
          name: `g-${name}`,
          source_volume_ids: [...new Set([idOf(name), idOf(names[0] ?? '')])],
        }),
      (name) => csi.publish(idOf(name), `t-${name}`),
      (name) =>
        csi.node('NodeUnpublishVolume', {
          volume_id: idOf(name),
          target_path: join(csi.lab.directory, `t-${name}`),
        }),
      (name) =>
        csi.controller('ControllerExpandVolume', {
          volume_id: idOf(name),
          capacity_range: { required_bytes: bytes(16) },
        }),
    ];
    const running = Array.from({ length: 200 }, () => {
      const operate = operations[random(operations.length)];
      const name = names[random(names.length)];
      if (operate === undefined || name === undefined) throw new Fault('bug', 'nothing to choose');
      return operate(name);
    });
    const kinds = (await Promise.allSettled(running)).map((outcome) =>
      outcome.status === 'fulfilled' ? 'ok' : Fault.from(outcome.reason).kind,
    );
    const allowed = ['ok', 'busy', 'not-found', 'precondition', 'conflict', 'exhausted'];
    expect(kinds.filter((kind) => !allowed.includes(kind))).toEqual([]);
    expect(kinds.filter((kind) => kind === 'ok').length).toBeGreaterThan(20);

    const { orphans, volumes, snapshots } = await csi.lab.storage.health.report();
    expect(orphans).toEqual([]);
    expect(new Set(volumes.map(({ name }) => name)).size).toBe(volumes.length);
    for (const { id, published } of volumes) {
      for (const { target } of published)
        await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
      await csi.controller('DeleteVolume', { volume_id: id });
    }
    for (const { id } of csi.lab.storage.groups.list()) {
      await csi.group('DeleteVolumeGroupSnapshot', { group_snapshot_id: id });
    }
    for (const { id, group } of snapshots) {
      if (group === undefined) await csi.controller('DeleteSnapshot', { snapshot_id: id });
    }
    expect(await csi.lab.storage.health.report()).toMatchObject({ orphans: [], volumes: [], snapshots: [] });
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(`${csi.lab.directory}/t-`);
  });
});

/** Runs `work` while what was deleted is removed, as an agent does it all the time. */
async function whileCollecting({ lab }: CsiLab, work: () => Promise<unknown>): Promise<void> {
  const stop = new AbortController();
  const collecting = lab.storage.run(stop.signal);
  try {
    await work();
  } finally {
    stop.abort();
    await collecting;
  }
}

/** Numbers below a bound that look random and are the same in every run. */
function sequence(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
