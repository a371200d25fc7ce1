import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findIoCgroups } from './io-cgroups.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'keelson-cgroups-'));
});
afterEach(() => rm(root, { recursive: true }));

const put = async (path: string, text = ''): Promise<void> => {
  await mkdir(join(root, path, '..'), { recursive: true });
  await writeFile(join(root, path), text);
};
const textOf = (path: string): Promise<string> => readFile(join(root, path), 'utf8');

describe('cgroups of version 2', () => {
  beforeEach(async () => {
    await put('cgroup.controllers', 'cpuset cpu io memory pids\n');
    await put('kubepods.slice/io.max');
    await put('kubepods.slice/kubepods-burstable.slice/io.max');
    await put('system.slice/io.max');
    await put('init.scope/cgroup.procs');
  });

  it('are limited at the top level, for all descendants', async () => {
    const cgroups = await findIoCgroups(root);
    expect(cgroups?.isFlat).toBe(false);
    const groups = (await cgroups?.list()) ?? [];
    expect(groups.toSorted()).toEqual([join(root, 'kubepods.slice'), join(root, 'system.slice')]);
    for (const group of groups) await cgroups?.limit(group, '7:3', { writeBandwidth: 1_000_000n });
    expect(await textOf('kubepods.slice/io.max')).toBe('7:3 rbps=max wbps=1000000 riops=max wiops=max');
    expect(await textOf('kubepods.slice/kubepods-burstable.slice/io.max')).toBe('');
  });

  it('that are removed meanwhile are ignored', async () => {
    const cgroups = await findIoCgroups(root);
    await cgroups?.limit(join(root, 'absent.slice'), '7:3', { readIOPS: 100n });
  });

  it('do not support limits without the io controller, or without io.max', async () => {
    await put('cgroup.controllers', 'cpu memory\n');
    expect(await findIoCgroups(root)).toBeUndefined();
    await put('cgroup.controllers', 'io\n');
    for (const slice of ['kubepods.slice', 'system.slice']) await rm(join(root, slice), { recursive: true });
    expect(await findIoCgroups(root)).toBeUndefined();
  });
});

describe('cgroups of version 1', () => {
  const FILES = ['read_bps_device', 'write_bps_device', 'read_iops_device', 'write_iops_device'];
  const group = async (path: string): Promise<void> => {
    for (const file of FILES) await put(`${path}/blkio.throttle.${file}`);
  };

  it('are limited individually, including the root', async () => {
    for (const path of ['blkio', 'blkio/kubepods', 'blkio/kubepods/pod1', 'blkio/kubepods/pod1/main']) {
      await group(path);
    }
    const cgroups = await findIoCgroups(root);
    expect(cgroups?.isFlat).toBe(true);
    const groups = (await cgroups?.list()) ?? [];
    expect(groups).toHaveLength(4);
    for (const found of groups) await cgroups?.limit(found, '7:3', { readIOPS: 100n });
    expect(await textOf('blkio/blkio.throttle.read_iops_device')).toBe('7:3 100');
    expect(await textOf('blkio/kubepods/pod1/main/blkio.throttle.read_iops_device')).toBe('7:3 100');
    expect(await textOf('blkio/kubepods/pod1/main/blkio.throttle.write_bps_device')).toBe('7:3 0');
  });

  it('do not support limits without blkio.throttle', async () => {
    await put('blkio/blkio.weight');
    expect(await findIoCgroups(root)).toBeUndefined();
  });
});
