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

async function release(lab: ControllerOnFakes, words: readonly string[], typed?: string): Promise<Answer> {
  const written: string[] = [];
  const questions: string[] = [];
  const { client } = lab;
  await releaseVerb.run({
    words,
    output: 'text',
    namespace: 'default',
    givenNamespace: undefined,
    systemNamespace: 'keelson-system',
    client,
    reader: new ClusterReader({ client, signal: new AbortController().signal }),
    nowMs: 0,
    write: (text) => written.push(text),
    isSure: typed === undefined,
    ask: async (question) => {
      questions.push(question);
      return await Promise.resolve(typed ?? '');
    },
  });
  await lab.settle();
  return { text: written.join(''), questions };
}

/** Claim `data` on n1, which pod `web` uses; n1 is gone unless told otherwise. */
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

test('a lost node is given up once its name is typed; its claims go without it then', async () => {
  await using lab = await start();
  const { text, questions } = await release(lab, ['node/n1'], 'n1');
  expect(questions).toHaveLength(1);
  expect(questions[0]).toContain('node n1 no longer exists; on it is:');
  expect(questions[0]).toMatch(new RegExp(`team/data +volume +2 GiB +Delete +web +${lab.name}`));
  expect(questions[0]).toMatch(/type the name of the node to give up 1 volume for good: $/);
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
])('nothing is given up when %s is typed', async (_name, typed) => {
  await using lab = await start();
  await expect(release(lab, ['node/n1'], typed)).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('n1 was asked for: nothing is given up') as string,
  });
  expect(await isReleased(lab)).toBe(false);
});

test('nothing of a node that is Ready is given up, whoever is sure', async () => {
  await using lab = await start('True');
  await expect(release(lab, ['node/n1'])).rejects.toThrow('node n1 is Ready and serves its volumes');
  await expect(release(lab, ['volume', lab.name])).rejects.toThrow(`serves volume ${lab.name}`);
  expect(await isReleased(lab)).toBe(false);
});

test('one volume of a silent node, without a question; the second time there is nothing to ask', async () => {
  await using lab = await start('Unknown');
  const first = await release(lab, ['lvol', lab.name]);
  expect(first.text).toContain('node n1 is not Ready; on it is:');
  expect(await isReleased(lab)).toBe(true);
  const second = await release(lab, ['node/n1'], 'unread');
  expect(second.questions).toEqual([]);
  expect(second.text).toContain('1 volume of node n1 is given up');
});

test('a node that comes back while the question stands is not given up', async () => {
  await using lab = await start('Unknown');
  const { client } = lab;
  const context = { words: ['node/n1'], output: 'text', namespace: '', givenNamespace: undefined } as const;
  const run = releaseVerb.run({
    ...context,
    systemNamespace: '',
    client,
    reader: new ClusterReader({ client, signal: new AbortController().signal }),
    nowMs: 0,
    write: () => undefined,
    isSure: false,
    ask: async () => {
      await setReady(lab, 'True');
      return 'n1';
    },
  });
  await expect(run).rejects.toThrow('node n1 is Ready');
  expect(await isReleased(lab)).toBe(false);
});

test('a name that nothing has is answered with those that there are', async () => {
  await using lab = await start();
  await expect(release(lab, ['node/n2'])).rejects.toThrow(
    'no LocalVolume is on node n2; nodes with volumes are n1',
  );
  await expect(release(lab, ['volume/x'])).rejects.toThrow(
    `there is no LocalVolume x; there are ${lab.name}`,
  );
  await expect(release(lab, ['pvc/data'])).rejects.toThrow('is neither node/NAME nor volume/NAME');
});
