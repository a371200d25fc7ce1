import { expect, test } from 'vitest';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { PERSISTENT_VOLUME_CLAIMS, type PersistentVolumeClaim } from '../../kube/built-in.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { ClaimFinalizer } from './claim-finalizer.ts';
import { createCluster } from './cluster.ts';

const WHERE = { namespace: 'team', name: 'data' };
const { signal } = new AbortController();

async function start(finalizers: readonly string[]) {
  const client = new FakeApiClient();
  const cluster = createCluster({ client, logger: silentLogger });
  await client.create(PERSISTENT_VOLUME_CLAIMS, { metadata: { ...WHERE, finalizers } });
  const get = async (): Promise<PersistentVolumeClaim> => await client.get(PERSISTENT_VOLUME_CLAIMS, WHERE);
  return { client, cluster, get, finalizer: new ClaimFinalizer('example.com/ours', { client, cluster }) };
}

test('it is put on once, beside those of others, and is known at once', async () => {
  const { client, cluster, get, finalizer } = await start(['example.com/other']);
  for (const _ of [1, 2]) await finalizer.ensure('team/data', signal);
  expect((await get()).metadata?.finalizers).toEqual(['example.com/other', 'example.com/ours']);
  expect(client.calls.filter((call) => call.startsWith('patch'))).toHaveLength(1);
  expect(finalizer.isOn(cluster.claims.store.get('team/data') ?? {})).toBe(true);
});

test('a claim that is being deleted does not get it', async () => {
  const { client, finalizer } = await start(['example.com/other']);
  await client.delete(PERSISTENT_VOLUME_CLAIMS, WHERE);
  await expect(finalizer.ensure('team/data', signal)).rejects.toMatchObject({ kind: 'busy' });
});

test('the finalizer is removed alone, and never from a version that is not the newest', async () => {
  const { get, finalizer } = await start(['example.com/other']);
  await finalizer.ensure('team/data', signal);
  const claim = await get();
  await finalizer.remove(claim, signal);
  expect((await get()).metadata?.finalizers).toEqual(['example.com/other']);
  await expect(finalizer.remove(claim, signal)).rejects.toMatchObject({ kind: 'busy' });
});

test('a claim that goes with its last finalizer is not remembered', async () => {
  const { client, cluster, get, finalizer } = await start([]);
  await finalizer.ensure('team/data', signal);
  await client.delete(PERSISTENT_VOLUME_CLAIMS, WHERE);
  const before = cluster.claims.store.get('team/data');
  await finalizer.remove(await get(), signal);
  await expect(get()).rejects.toMatchObject({ kind: 'not-found' });
  expect(cluster.claims.store.get('team/data')).toBe(before);
});
