import { expect, test } from 'vitest';
import {
  type ControllerOnFakes,
  SPACE,
  startControllerOnFakes,
} from '../../../test/fakes/controller-on-fakes.ts';
import { LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { RELEASE } from '../../controller/volumes/lost-node-volumes.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS } from '../../kube/built-in.ts';
import { listAll } from '../../kube/client.ts';
import { ClusterReader } from './cluster-reader.ts';
import { releaseVerb } from './release-verb.ts';

interface Answer {
  readonly text: string;
  readonly questions: readonly string[];
}

async function release(lab: ControllerOnFakes, args: readonly string[], typed?: string): Promise<Answer> {
  const written: string[] = [];
  const questions: string[] = [];
  const { client } = lab;
  await releaseVerb.run({
    args,
    output: 'text',
    namespace: 'default',
    givenNamespace: undefined,
    systemNamespace: 'keelson-system',
    client,
    reader: new ClusterReader({ client, signal: new AbortController().signal }),
    nowMs: 0,
    write: (text) => written.push(text),
    assumeYes: typed === undefined,
    prompt: async (question) => {
      questions.push(question);
      return await Promise.resolve(typed ?? '');
    },
  });
  await lab.settle();
  return { text: written.join(''), questions };
}

/** Claim `data` on n1, used by pod `web`; deletes n1 unless `ready` is given. */
async function start(ready?: 'True' | 'Unknown'): Promise<ControllerOnFakes & { readonly name: string }> {
  const lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await lab.client.create(PODS, {
    metadata: { name: 'web', namespace: SPACE },
    spec: { containers: [], volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }] },
  });
  if (ready === undefined) await lab.client.delete(NODES, { name: 'n1' });
  else await setReady(lab, ready);
  await lab.settle();
  return Object.assign(lab, { name });
}

async function setReady(lab: ControllerOnFakes, status: 'True' | 'Unknown'): Promise<void> {
  const merge = { status: { conditions: [{ type: 'Ready', status }] } };
  await lab.client.patch(NODES, { name: 'n1' }, { merge }, { subresource: 'status' });
  const taint = { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' };
  const taints = { spec: { taints: status === 'True' ? [] : [taint] } };
  await lab.client.patch(NODES, { name: 'n1' }, { merge: taints });
}

const isReleased = async ({ volume, name }: ControllerOnFakes & { name: string }): Promise<boolean> =>
  (await volume(name)).metadata?.annotations?.[RELEASE] !== undefined;

test('releases a lost node once its name is typed, so that its claims can be deleted', async () => {
  await using lab = await start();
  const { text, questions } = await release(lab, ['node/n1'], 'n1');
  expect(questions).toHaveLength(1);
  expect(questions[0]).toContain('node n1 no longer exists; its volumes:');
  expect(questions[0]).toMatch(new RegExp(`team/data +volume +2 GiB +Delete +web +${lab.name}`));
  expect(questions[0]).toMatch(/type the name of the node to release 1 volume: $/);
  expect(text).toContain('kubectl delete pvc -n team data --wait=false');
  expect(text).toContain('kubectl delete pod -n team web --force');
  expect(lab.events.at(-1)).toContain('data VolumeReleased');
  await lab.client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' });
  const merge = { status: { phase: 'Released' } };
  await lab.client.patch(PERSISTENT_VOLUMES, { name: lab.name }, { merge }, { subresource: 'status' });
  await lab.settle();
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test.each([
  ['nothing', ''],
  ['another name', 'n2'],
  ['yes', 'yes'],
])('releases nothing when %s is typed', async (_name, typed) => {
  await using lab = await start();
  await expect(release(lab, ['node/n1'], typed)).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('expected n1; nothing is released') as string,
  });
  expect(await isReleased(lab)).toBe(false);
});

test('releases no volume of a Ready node, even with --yes', async () => {
  await using lab = await start('True');
  await expect(release(lab, ['node/n1'])).rejects.toThrow('node n1 is Ready and serves its volumes');
  await expect(release(lab, ['volume', lab.name])).rejects.toThrow(`serves volume ${lab.name}`);
  expect(await isReleased(lab)).toBe(false);
});

test('releases one volume of a NotReady node with --yes, and does not prompt again for a released one', async () => {
  await using lab = await start('Unknown');
  const first = await release(lab, ['lvol', lab.name]);
  expect(first.text).toContain('node n1 is not Ready; its volumes:');
  expect(await isReleased(lab)).toBe(true);
  const second = await release(lab, ['node/n1'], 'unread');
  expect(second.questions).toEqual([]);
  expect(second.text).toContain('released 1 volume of node n1');
});

test('does not release a node that becomes Ready during the prompt', async () => {
  await using lab = await start('Unknown');
  const { client } = lab;
  const context = { args: ['node/n1'], output: 'text', namespace: '', givenNamespace: undefined } as const;
  const run = releaseVerb.run({
    ...context,
    systemNamespace: '',
    client,
    reader: new ClusterReader({ client, signal: new AbortController().signal }),
    nowMs: 0,
    write: () => undefined,
    assumeYes: false,
    prompt: async () => {
      await setReady(lab, 'True');
      return 'n1';
    },
  });
  await expect(run).rejects.toThrow('node n1 is Ready');
  expect(await isReleased(lab)).toBe(false);
});

test('lists the known names when a name is unknown', async () => {
  await using lab = await start();
  await expect(release(lab, ['node/n2'])).rejects.toThrow(
    'node n2 has no LocalVolumes; nodes with volumes: n1',
  );
  await expect(release(lab, ['volume/x'])).rejects.toThrow(`LocalVolume x not found; found ${lab.name}`);
  await expect(release(lab, ['pvc/data'])).rejects.toThrow(
    'invalid argument "pvc/data"; expected node/NAME or volume/NAME',
  );
});
