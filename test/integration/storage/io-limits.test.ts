import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { findIoCgroups } from '../../../node-agent/linux/process/io-cgroups.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { capability, type CsiLab, startCsiLab } from './csi-lab.ts';
import { fill, requireRoot } from './storage-lab.ts';

const CGROUPS = '/sys/fs/cgroup';

beforeEach(async (context) => {
  requireRoot(context);
  const cgroups = await findIoCgroups(CGROUPS);
  if (cgroups === undefined) context.skip('the cgroups of this machine limit no I/O');
  // The test's process is limited only if its root is a cgroup like any other.
  if (cgroups?.isFlat === false)
    context.skip('cgroups of version 2: pods are bounded, and this process is in none');
});

/** Reads the kernel's limits of the device in the root cgroup. */
async function limitsOf(device: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of ['read_bps', 'write_bps', 'read_iops', 'write_iops']) {
    const text = await readFile(`${CGROUPS}/blkio/blkio.throttle.${name}_device`, 'utf8');
    for (const line of text.split('\n')) {
      const [number, value] = line.split(' ');
      if (number === device) found.push(`${name} ${value ?? ''}`);
    }
  }
  return found;
}

const deviceOf = async ({ lab }: CsiLab, id: string): Promise<string> => {
  const file = join(lab.mountPoint, 'volumes', `${id}.img`);
  return (await lab.kernel.call('findLoopNumber', file)) ?? '';
};

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1000;
}

describe('limits of I/O', () => {
  it('apply to a Filesystem volume, also after a restart and a change, and end with it', async () => {
    await using csi = await startCsiLab({ backend: 'image' });
    const id = await csi.createVolume('v', 64, { mutable_parameters: { writeBandwidth: '4Mi' } });
    const target = await csi.publish(id, 'target');
    const device = await deviceOf(csi, id);
    expect(await limitsOf(device)).toEqual(['write_bps 4194304']);
    // 16 MiB at 4 MiB/s. Only lower bounds: a busy host is slower.
    expect(await secondsOf(() => fill(join(target, 'file'), 16))).toBeGreaterThan(3);

    await csi.lab.restart();
    expect(await limitsOf(device)).toEqual(['write_bps 4194304']);

    const modify = (parameters: Record<string, string>) =>
      csi.controller('ControllerModifyVolume', { volume_id: id, mutable_parameters: parameters });
    await modify({ writeBandwidth: '2Mi', readIOPS: '1k' });
    await modify({ writeBandwidth: '2Mi', readIOPS: '1k' });
    expect(await limitsOf(device)).toEqual(['write_bps 2097152', 'read_iops 1000']);
    expect(await secondsOf(() => fill(join(target, 'file'), 8))).toBeGreaterThan(3);

    await expect(modify({ writeBandwidth: '1Mi', speed: '1' })).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('"speed" is unknown; expected readIOPS') as string,
    });
    expect(await limitsOf(device)).toEqual(['write_bps 2097152', 'read_iops 1000']);
    await modify({});
    expect(await limitsOf(device)).toEqual([]);
    await modify({ writeBandwidth: '64Mi' });
    await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: target });
    await csi.node('NodeUnstageVolume', {
      volume_id: id,
      staging_target_path: join(csi.lab.directory, `staging-${id}`),
    });
    // The device keeps its number; its next user must not inherit limits.
    expect(await limitsOf(device)).toEqual([]);
  });

  it('apply to a Block volume, read with direct I/O', async () => {
    await using csi = await startCsiLab({ backend: 'image' });
    const form = capability('SINGLE_NODE_MULTI_WRITER', 'block');
    const id = await csi.createVolume('v', 64, {
      volume_capabilities: [form],
      mutable_parameters: { readBandwidth: '2Mi', writeBandwidth: 'max' },
    });
    const target = await csi.publish(id, 'device', { volume_capability: form });
    const read = () => runCommand('dd', [`if=${target}`, 'of=/dev/null', 'bs=1M', 'count=8', 'iflag=direct']);
    expect(await secondsOf(read)).toBeGreaterThan(3);
  });

  it('are refused for a volume without its own device, with the alternatives', async () => {
    await using csi = await startCsiLab();
    const id = await csi.createVolume('v', 64);
    const refused = { kind: 'invalid', message: expect.stringContaining('backend image') as string };
    const parameters = { readIOPS: '100' };
    await expect(
      csi.controller('ControllerModifyVolume', { volume_id: id, mutable_parameters: parameters }),
    ).rejects.toMatchObject(refused);
    await expect(
      csi.createVolume('w', 64, { parameters: { pool: 'default' }, mutable_parameters: parameters }),
    ).rejects.toMatchObject(refused);
    expect((await csi.controller('ListVolumes', {})).entries).toHaveLength(1);
  });
});
