import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connectRpc } from '../../../src/rpc/client.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { requireAgent, startAgent } from '../host/agent-process.ts';
import { capability } from './csi-lab.ts';

it('an agent removes the volumes of pods that were removed while it was down, and keeps others', async (context) => {
  await requireAgent(context);
  const kubeletDir = join('/run', `keelson-inline-${process.pid}`);
  await using agent = await startAgent({
    name: 'inline',
    pools: (directory) => [
      { name: 'default', backend: 'btrfs', source: { file: join(directory, 'pool.img'), size: '1Gi' } },
    ],
    config: { kubeletDir },
  });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(kubeletDir, { recursive: true, force: true }));
  const placeOf = (pod: string): string => join(kubeletDir, 'pods', pod, 'volumes/mount');
  const publish = async (pod: string): Promise<void> => {
    await mkdir(join(kubeletDir, 'pods', pod, 'volumes'), { recursive: true });
    using client = connectRpc(agent.csiSocket);
    const request = {
      volume_id: `csi-${pod}`,
      target_path: placeOf(pod),
      volume_capability: capability('SINGLE_NODE_WRITER'),
      volume_context: { 'csi.storage.k8s.io/ephemeral': 'true', size: '32Mi' },
    };
    await client.call('csi.v1.Node', 'NodePublishVolume', request, {});
    await writeFile(join(placeOf(pod), 'file'), pod);
  };
  const records = (): Promise<string[]> => readdir(join(agent.directory, 'state/volumes'));
  await publish('stays');
  await publish('vanishes');
  cleanup.defer(async () => {
    using client = connectRpc(agent.csiSocket);
    const request = { volume_id: 'csi-stays', target_path: placeOf('stays') };
    await client.call('csi.v1.Node', 'NodeUnpublishVolume', request, {});
  });
  expect(await records()).toHaveLength(2);

  await agent.stop();
  await runCommand('umount', [placeOf('vanishes')]);
  await rm(join(kubeletDir, 'pods/vanishes'), { recursive: true });
  await agent.start();
  const [left, ...others] = await records();
  expect(others).toEqual([]);
  expect(await readFile(join(agent.directory, 'state/volumes', left ?? ''), 'utf8')).toContain('csi-stays');
  expect(await readFile(join(placeOf('stays'), 'file'), 'utf8')).toBe('stays');
  const log = await agent.readLog();
  expect(log).toContain('pod of ephemeral volume not found');
});
