import { expect, test } from 'vitest';
import { NODES } from '../../src/kube/built-in.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { planTaintRemoval, removeStartupTaint, STARTUP_TAINT } from './startup-taint.ts';

const foreign = { key: 'example.com/other', effect: 'NoSchedule' };
const ours = { key: STARTUP_TAINT, effect: 'NoSchedule' };

test('a node without the startup taint needs no write', () => {
  expect(planTaintRemoval({})).toBeUndefined();
  expect(planTaintRemoval({ spec: { taints: [foreign] } })).toBeUndefined();
});

test('every startup taint goes and every other stays', async () => {
  const client = new FakeApiClient();
  const taints = [ours, foreign, { ...ours, effect: 'NoExecute' }];
  const node = await client.create(NODES, { metadata: { name: 'n1' }, spec: { taints } });
  const deps = { client, logger: silentLogger, fieldManager: 'test' };
  await removeStartupTaint(node, deps);
  expect((await client.get(NODES, { name: 'n1' })).spec?.taints).toEqual([foreign]);
});

test('taints that moved meanwhile are not touched', async () => {
  const client = new FakeApiClient();
  const node = await client.create(NODES, { metadata: { name: 'n1' }, spec: { taints: [ours] } });
  await client.patch(NODES, { name: 'n1' }, { merge: { spec: { taints: [foreign, ours] } } });
  const deps = { client, logger: silentLogger, fieldManager: 'test' };
  await expect(removeStartupTaint(node, deps)).rejects.toMatchObject({ kind: 'invalid' });
  expect((await client.get(NODES, { name: 'n1' })).spec?.taints).toEqual([foreign, ours]);
});
