import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { AgentStatus } from '../../../src/core/inventory/agent-status.ts';
import { connectRpc } from '../../../src/rpc/client.ts';
import { type CommandOutput, runCommand } from '../../../src/runtime/child-process.ts';
import { capability } from './csi-lab.ts';
import { type AgentProcess, KEELSON, requireAgent, startAgent } from '../host/agent-process.ts';

const FAILED = [1, 64];

it('`keelson volume` writes a volume of a running agent to a file and makes one of it, whole or not at all', async (context) => {
  await requireAgent(context);
  await using agent = await startAgent({
    name: 'volume-command',
    pools: (directory) => [
      { name: 'default', backend: 'image', source: { file: join(directory, 'pool.img'), size: '1Gi' } },
    ],
  });
  using csi = connectRpc(agent.csiSocket);
  const { volume } = await csi.call('csi.v1.Controller', 'CreateVolume', {
    name: 'data',
    capacity_range: { required_bytes: String(64 << 20) },
    volume_capabilities: [capability('SINGLE_NODE_WRITER', 'block')],
  });
  const id = volume?.volume_id ?? '';
  const content = Buffer.alloc(32 << 20, 'content of a volume. ');
  await writeFile(fileOf(agent, id), content, { flag: 'r+' });

  const file = join(agent.directory, 'data.keelson');
  await keelson(agent, ['export', 'data', '-f', file]);
  expect((await readdir(agent.directory)).filter((name) => name.startsWith('data.keelson'))).toHaveLength(1);
  const { stdout } = await keelson(agent, ['import', 'copy', '-f', file]);
  expect(stdout).toMatch(/^vol-[0-9a-f]{24}\tcopy, 64 MiB in pool default\n$/);
  const copy = await readFile(fileOf(agent, stdout.split('\t')[0] ?? ''));
  expect(copy.subarray(0, content.length).equals(content)).toBe(true);
  expect((await keelson(agent, ['import', 'copy', '-f', file])).stdout, 'once more').toBe(stdout);
  const piped = await runCommand('sh', [
    '-c',
    `${KEELSON} volume export data --run-dir ${agent.directory}/run | ${KEELSON} volume import piped --keep-base --run-dir ${agent.directory}/run`,
  ]);
  expect(piped.stdout).toContain('piped, 64 MiB');
  const base = (await status(agent)).snapshots[0]?.id ?? '';

  const refusals: readonly (readonly [readonly string[], string])[] = [
    [
      ['export', 'nothing', '-f', `${file}.no`],
      'keelson: volume or snapshot nothing does not exist on this node',
    ],
    [['import', 'data', '-f', file], 'keelson: volume data exists on this node; choose another name'],
    [['import', 'other', '-f', join(agent.directory, 'agent.yaml')], 'is not a complete volume export'],
    [
      ['export', 'data', '--from', 'nothing', '-f', `${file}.no`],
      'snapshot nothing does not exist on this node',
    ],
    [['copy', 'data'], "unknown command 'copy'"],
    [['delete', 'data'], 'volume, snapshot or data data does not exist on this node'],
  ];
  for (const [args, words] of refusals) {
    expect((await keelson(agent, args, FAILED)).stderr, args.join(' ')).toContain(words);
  }
  expect((await readdir(agent.directory)).filter((name) => name.includes('.no'))).toEqual([]);

  const importing = spawn(KEELSON, ['volume', 'import', 'cut', '--run-dir', join(agent.directory, 'run')], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  importing.stdin.on('error', () => undefined);
  importing.stdin.write((await readFile(file)).subarray(0, 20 << 20));
  const snapshots = join(agent.directory, 'state/snapshots');
  await expect.poll(async () => await readdir(snapshots)).toHaveLength(2);
  importing.kill('SIGKILL');
  await once(importing, 'exit');
  await expect.poll(async () => await readdir(snapshots)).toEqual([`${base}.json`]);
  const { volumes, orphans } = await status(agent);
  expect(volumes.map(({ name }) => name).sort()).toEqual(['copy', 'data', 'piped']);
  expect(orphans).toEqual([]);
});

it('`keelson volume delete` removes unused data by id', async (context) => {
  await requireAgent(context);
  await using agent = await startAgent({
    name: 'volume-delete',
    pools: (directory) => [
      { name: 'default', backend: 'image', source: { file: join(directory, 'pool.img'), size: '1Gi' } },
    ],
  });
  using csi = connectRpc(agent.csiSocket);
  const make = async (name: string): Promise<string> => {
    const { volume } = await csi.call('csi.v1.Controller', 'CreateVolume', {
      name,
      capacity_range: { required_bytes: String(64 << 20) },
      volume_capabilities: [capability('SINGLE_NODE_WRITER')],
    });
    return volume?.volume_id ?? '';
  };
  const used = await make('used');
  const staging = { volume_id: used, staging_target_path: join(agent.directory, 'staging') };
  const volume_capability = capability('SINGLE_NODE_WRITER');
  await csi.call('csi.v1.Node', 'NodeStageVolume', { ...staging, volume_capability });
  expect((await keelson(agent, ['delete', used], FAILED)).stderr).toContain(`volume ${used} is in use`);
  await csi.call('csi.v1.Node', 'NodeUnstageVolume', staging);
  const { snapshot } = await csi.call('csi.v1.Controller', 'CreateSnapshot', {
    name: 'snapshot',
    source_volume_id: used,
  });
  const ids = [used, snapshot?.snapshot_id ?? ''];
  for (const id of ids) {
    expect((await keelson(agent, ['delete', id])).stdout).toMatch(new RegExp(`^deleted .*${id}`));
    expect((await keelson(agent, ['delete', id], FAILED)).stderr).toContain('on this node');
  }
  const lost = `vol-${'0'.repeat(24)}`;
  await writeFile(fileOf(agent, lost), 'its record is deleted');
  const doctor = async (): Promise<string> => {
    const directories = ['--state-dir', `${agent.directory}/state`, '--run-dir', `${agent.directory}/run`];
    return (await runCommand(KEELSON, ['doctor', ...directories], { accept: FAILED })).stdout;
  };
  expect(await doctor()).toContain(`keelson volume delete ${lost}`);
  expect((await keelson(agent, ['delete', lost])).stdout).toBe(`deleted data ${lost} in pool default\n`);
  expect(await doctor()).not.toContain(lost);
  expect(await status(agent)).toMatchObject({ volumes: [], snapshots: [], orphans: [] });
});

function fileOf({ directory }: AgentProcess, id: string): string {
  return join(directory, 'state/pools/default/volumes', `${id}.img`);
}

async function keelson(
  { directory }: AgentProcess,
  args: readonly string[],
  accept: readonly number[] = [],
): Promise<CommandOutput> {
  return await runCommand(KEELSON, ['volume', ...args, '--run-dir', join(directory, 'run')], { accept });
}

async function status({ directory }: AgentProcess): Promise<AgentStatus> {
  const { stdout } = await runCommand(KEELSON, ['status', '-o', 'json', '--run-dir', join(directory, 'run')]);
  return JSON.parse(stdout) as AgentStatus;
}
