import { afterAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { isFault } from '../../../src/core/fault.ts';
import { sleep } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { type ConfigMap, CONFIG_MAPS, NAMESPACES, NODES, type Node } from '../../../src/kube/built-in.ts';
import { type KubeClient, listAll } from '../../../src/kube/client.ts';
import { type Change, Informer } from '../../../src/kube/informer.ts';
import { keyOf } from '../../../src/kube/resource.ts';
import { isNewerVersion, versionOf } from '../../../src/kube/resource-version.ts';
import { isExpired } from '../../../src/kube/status-fault.ts';

/** A server and a client for it, made for one run of the suite. */
export interface ContractSubject extends AsyncDisposable {
  readonly client: KubeClient;
  /** Makes the server forget version 1. */
  expire(): Promise<void>;
}

const NAMESPACE = 'contract';
const WITHIN_MS = 60_000;

/** What every KubeClient does, whatever is behind it. `start` may skip the suite by its context. */
export function describeKubeClient(
  name: string,
  start: (context: Pick<TestContext, 'skip'>) => Promise<ContractSubject>,
): void {
  describe(name, () => {
    let subject: ContractSubject | undefined;
    let client: KubeClient;
    let counter = 0;
    const fresh = (): string => `object-${(counter += 1)}`;
    const configMap = (name: string, data: Record<string, string> = {}, labels = {}): ConfigMap => ({
      metadata: { name, namespace: NAMESPACE, labels },
      data,
    });
    const at = (name: string): { name: string; namespace: string } => ({ name, namespace: NAMESPACE });

    beforeEach(async ({ skip }) => {
      if (subject !== undefined) return;
      subject = await start({ skip });
      client = subject.client;
      await client.create(NAMESPACES, { metadata: { name: NAMESPACE } });
    });
    afterAll(async () => {
      await subject?.[Symbol.asyncDispose]();
    });

    it('gives a created object a UID and a version, and gets the same object', async () => {
      const created = await client.create(CONFIG_MAPS, configMap(fresh(), { a: '1' }));
      expect(created.metadata?.uid).toMatch(/^[0-9a-f-]{36}$/);
      expect(created.metadata?.resourceVersion).toMatch(/^\d+$/);
      const got = await client.get(CONFIG_MAPS, at(created.metadata?.name ?? ''));
      expect(got).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', data: { a: '1' } });
      expect(versionOf(got)).toBe(versionOf(created));
    });

    it('creates a name from generateName', async () => {
      const created = await client.create(CONFIG_MAPS, {
        metadata: { generateName: 'made-', namespace: NAMESPACE },
      });
      expect(created.metadata?.name).toMatch(/^made-.+/);
    });

    it('rejects with not-found for an absent object', async () => {
      await expect(client.get(CONFIG_MAPS, at('absent'))).rejects.toSatisfy((e) => isFault(e, 'not-found'));
      const merge = { data: { a: '1' } };
      await expect(client.patch(CONFIG_MAPS, at('absent'), { merge })).rejects.toSatisfy((e) =>
        isFault(e, 'not-found'),
      );
      await expect(client.delete(CONFIG_MAPS, at('absent'))).rejects.toSatisfy((e) =>
        isFault(e, 'not-found'),
      );
    });

    it('rejects with conflict for a name that is taken', async () => {
      const name = fresh();
      await client.create(CONFIG_MAPS, configMap(name));
      const again = client.create(CONFIG_MAPS, configMap(name));
      await expect(again).rejects.toMatchObject({ kind: 'conflict', fields: { reason: 'AlreadyExists' } });
    });

    it('rejects with busy for an update of a stale version', async () => {
      const name = fresh();
      const first = await client.create(CONFIG_MAPS, configMap(name, { a: '1' }));
      const second = await client.update(CONFIG_MAPS, { ...first, data: { a: '2' } });
      expect(isNewerVersion(versionOf(second), versionOf(first))).toBe(true);
      await expect(client.update(CONFIG_MAPS, { ...first, data: { a: '3' } })).rejects.toMatchObject({
        kind: 'busy',
      });
      expect(await client.get(CONFIG_MAPS, at(name))).toMatchObject({ data: { a: '2' } });
    });

    it('rejects with busy for a patch whose precondition does not hold, by either kind of patch', async () => {
      const name = fresh();
      const first = await client.create(CONFIG_MAPS, configMap(name, { a: '1' }));
      const second = await client.patch(CONFIG_MAPS, at(name), { merge: { data: { a: '2', b: null } } });
      const stale = { resourceVersion: versionOf(first) };
      const current = { resourceVersion: versionOf(second), uid: first.metadata?.uid };
      const json = [{ op: 'replace', path: '/data/a', value: '3' }] as const;
      await expect(
        client.patch(CONFIG_MAPS, at(name), { merge: { data: { a: '3' } }, precondition: stale }),
      ).rejects.toMatchObject({ kind: 'busy' });
      await expect(client.patch(CONFIG_MAPS, at(name), { json, precondition: stale })).rejects.toMatchObject({
        kind: 'busy',
      });
      const patched = await client.patch(CONFIG_MAPS, at(name), { json, precondition: current });
      expect(patched.data).toEqual({ a: '3' });
    });

    it('rejects with invalid for a JSON patch whose test fails', async () => {
      const name = fresh();
      await client.create(CONFIG_MAPS, configMap(name, { a: '1' }));
      const json = [{ op: 'test', path: '/data/a', value: '2' }] as const;
      await expect(client.patch(CONFIG_MAPS, at(name), { json })).rejects.toMatchObject({ kind: 'invalid' });
    });

    it('stores nothing in a dry run', async () => {
      const name = fresh();
      await client.create(CONFIG_MAPS, configMap(name), { dryRun: true });
      await expect(client.get(CONFIG_MAPS, at(name))).rejects.toMatchObject({ kind: 'not-found' });
    });

    it('deletes an object only with the UID and version of the preconditions', async () => {
      const name = fresh();
      const first = await client.create(CONFIG_MAPS, configMap(name));
      const other = { uid: '00000000-0000-0000-0000-000000000000' };
      await expect(client.delete(CONFIG_MAPS, at(name), { precondition: other })).rejects.toMatchObject({
        kind: 'busy',
      });
      await client.delete(CONFIG_MAPS, at(name), { precondition: { uid: first.metadata?.uid } });
      await expect(client.get(CONFIG_MAPS, at(name))).rejects.toMatchObject({ kind: 'not-found' });
    });

    it('keeps a deleted object until its last finalizer is removed', async () => {
      const name = fresh();
      const finalizers = ['keelson.dev/test'];
      await client.create(CONFIG_MAPS, { metadata: { name, namespace: NAMESPACE, finalizers } });
      await client.delete(CONFIG_MAPS, at(name));
      const dying = await client.get(CONFIG_MAPS, at(name));
      expect(dying.metadata?.deletionTimestamp).toMatch(/^\d{4}-/);
      await client.patch(CONFIG_MAPS, at(name), { merge: { metadata: { finalizers: null } } });
      await expect(client.get(CONFIG_MAPS, at(name))).rejects.toMatchObject({ kind: 'not-found' });
    });

    it('writes status by its subresource alone', async () => {
      const name = fresh();
      await client.create(NODES, { metadata: { name } });
      const merge = { status: { phase: 'Running' } };
      await client.patch(
        NODES,
        { name },
        { merge: { ...merge, metadata: { labels: { seen: 'no' } } } },
        {
          subresource: 'status',
        },
      );
      await client.patch(NODES, { name }, { merge: { status: { phase: 'Pending' } } });
      expect((await client.get(NODES, { name })).status).toMatchObject({ phase: 'Running' });
    });

    it('applies the fields of a manager, removes those that it no longer applies, and creates absent objects', async () => {
      const name = fresh();
      const apply = (labels: Record<string, string>, fieldManager = 'keelson'): Promise<Node> =>
        client.patch(NODES, { name }, { apply: { metadata: { labels } }, fieldManager });
      await apply({ 'keelson.dev/a': '1', 'keelson.dev/b': '1' });
      await apply({ 'example.com/c': '1' }, 'other');
      const after = await apply({ 'keelson.dev/a': '2' });
      expect(after.metadata?.labels).toEqual({ 'keelson.dev/a': '2', 'example.com/c': '1' });
    });

    it('rejects with conflict when another manager owns a field, unless forced', async () => {
      const name = fresh();
      const apply = (value: string, fieldManager: string, force = false): Promise<Node> =>
        client.patch(
          NODES,
          { name },
          { apply: { metadata: { labels: { team: value } } }, fieldManager, force },
        );
      await apply('a', 'one');
      await expect(apply('b', 'two')).rejects.toMatchObject({ kind: 'conflict' });
      expect((await apply('b', 'two', true)).metadata?.labels).toEqual({ team: 'b' });
      await expect(apply('a', 'one')).rejects.toMatchObject({ kind: 'conflict' });
    });

    it('does not make a new version when an apply changes nothing', async () => {
      const name = fresh();
      const apply = (): Promise<Node> =>
        client.patch(
          NODES,
          { name },
          { apply: { metadata: { labels: { x: 'y' } } }, fieldManager: 'keelson' },
        );
      expect(versionOf(await apply())).toBe(versionOf(await apply()));
    });

    it('lists in managedFields which labels a manager applies, until another writer changes them', async () => {
      const name = fresh();
      await client.create(NODES, { metadata: { name, labels: { foreign: 'x' } } });
      const { metadata } = await client.get(NODES, { name });
      const apply = async (labels: Record<string, string>): Promise<Node> => {
        const patch = { apply: { metadata: { uid: metadata?.uid, labels } }, fieldManager: 'labels' };
        return await client.patch(NODES, { name }, patch);
      };
      const owned = (node: Node): unknown =>
        (node.metadata?.managedFields as { manager?: string; fieldsV1?: object }[] | undefined)?.find(
          ({ manager }) => manager === 'labels',
        )?.fieldsV1;
      const fields = (...keys: string[]): object => ({
        'f:metadata': { 'f:labels': Object.fromEntries(keys.map((key) => [`f:${key}`, {}])) },
      });
      expect(owned(await apply({ 'a.b/c': '1', 'a.b/d': '1' }))).toEqual(fields('a.b/c', 'a.b/d'));
      const changed = await client.patch(
        NODES,
        { name },
        { merge: { metadata: { labels: { 'a.b/c': '2' } } } },
      );
      expect(owned(changed)).toEqual(fields('a.b/d'));
      expect((await apply({})).metadata?.labels).toEqual({ foreign: 'x', 'a.b/c': '2' });
      await client.patch(NODES, { name }, { merge: { metadata: { labels: { 'a.b/c': null } } } });
      expect((await apply({ 'a.b/c': '3' })).metadata?.labels).toEqual({ foreign: 'x', 'a.b/c': '3' });
    });

    it('does not create by an apply that names a UID', async () => {
      const name = fresh();
      const metadata = { uid: '6f4c1ad5-0000-4000-8000-000000000000', labels: { 'a.b/c': '1' } };
      await expect(
        client.patch(NODES, { name }, { apply: { metadata }, fieldManager: 'labels' }),
      ).rejects.toMatchObject({ kind: 'busy' });
      await expect(client.get(NODES, { name })).rejects.toMatchObject({ kind: 'not-found' });
    });

    it('lists page by page, by labels and by fields', async () => {
      const names = [fresh(), fresh(), fresh(), fresh(), fresh()];
      for (const name of names) await client.create(CONFIG_MAPS, configMap(name, {}, { page: 'yes' }));
      const selection = { namespace: NAMESPACE, labelSelector: 'page=yes' };
      const first = await client.list(CONFIG_MAPS, { ...selection, limit: 2 });
      expect(first.items).toHaveLength(2);
      expect(first.items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
      expect(first.continue).toEqual(expect.any(String));
      const all = await listAll(client, CONFIG_MAPS, { ...selection, limit: 2 });
      expect(all.map((object) => object.metadata?.name).sort()).toEqual([...names].sort());
      const one = await listAll(client, CONFIG_MAPS, {
        namespace: NAMESPACE,
        fieldSelector: `metadata.name=${names[3] ?? ''}`,
      });
      expect(one.map((object) => object.metadata?.name)).toEqual([names[3]]);
    });

    it('watches what is added, modified, deleted, and what leaves the selection', async () => {
      const name = fresh();
      const { resourceVersion } = await client.list(CONFIG_MAPS, { namespace: NAMESPACE });
      const stop = new AbortController();
      const stream = client.watch(CONFIG_MAPS, {
        namespace: NAMESPACE,
        labelSelector: 'watched=yes',
        resourceVersion,
        timeoutMs: 60_000,
        signal: stop.signal,
      });
      await client.create(CONFIG_MAPS, configMap(name, { a: '1' }, { watched: 'yes' }));
      await client.patch(CONFIG_MAPS, at(name), { merge: { data: { a: '2' } } });
      await client.patch(CONFIG_MAPS, at(name), { merge: { metadata: { labels: { watched: 'no' } } } });
      const seen: string[] = [];
      for await (const event of stream) {
        if (event.type !== 'BOOKMARK') seen.push(event.type);
        if (event.type === 'DELETED') break;
      }
      expect(seen).toEqual(['OPENED', 'ADDED', 'MODIFIED', 'DELETED']);
    });

    it('ends a watch with the reason of its signal', async () => {
      const { resourceVersion } = await client.list(CONFIG_MAPS, { namespace: NAMESPACE });
      const stop = new AbortController();
      const options = { resourceVersion, timeoutMs: 60_000, signal: stop.signal };
      const reason = new Error('enough');
      const follow = async (): Promise<void> => {
        for await (const event of client.watch(CONFIG_MAPS, options)) {
          if (event.type === 'OPENED') stop.abort(reason);
        }
      };
      await expect(follow()).rejects.toBe(reason);
    });

    it('rejects a compacted version as expired', async () => {
      await subject?.expire();
      const stream = client.watch(CONFIG_MAPS, {
        resourceVersion: '1',
        timeoutMs: 5_000,
        signal: AbortSignal.timeout(WITHIN_MS),
      });
      const events = stream[Symbol.asyncIterator]();
      const follow = async (): Promise<void> => {
        while (!(await events.next()).done);
      };
      await expect(follow()).rejects.toSatisfy(isExpired);
    });

    it('keeps an informer in step with the server', async () => {
      await using task = new AsyncDisposableStack();
      const stop = new AbortController();
      const changes: Change<ConfigMap>[] = [];
      const informer = new Informer<ConfigMap>(
        {
          resource: CONFIG_MAPS,
          namespace: NAMESPACE,
          labelSelector: 'informed=yes',
          pageSize: 2,
          indexers: { team: (object) => [object.metadata?.labels?.['team'] ?? ''] },
        },
        { client, logger: silentLogger },
      );
      const before = [fresh(), fresh(), fresh()];
      for (const name of before)
        await client.create(CONFIG_MAPS, configMap(name, {}, { informed: 'yes', team: 'a' }));
      informer.subscribe((change) => changes.push(change));
      const running = informer.run(stop.signal);
      task.defer(async () => {
        stop.abort();
        await running;
      });
      await informer.synced({ signal: AbortSignal.timeout(WITHIN_MS) });
      expect([...informer.store.keys()].sort()).toEqual(before.map((name) => `${NAMESPACE}/${name}`).sort());
      expect(changes).toHaveLength(3);

      const [first = ''] = before;
      const moved = { merge: { metadata: { labels: { team: 'b' } } } };
      await client.patch(CONFIG_MAPS, at(first), moved);
      await eventually(() => informer.store.byIndex('team', 'b').length === 1);
      expect(informer.store.byIndex('team', 'a')).toHaveLength(2);
      expect(informer.store.get(`${NAMESPACE}/${first}`)?.metadata?.managedFields).toBeUndefined();
      await client.delete(CONFIG_MAPS, at(first));
      await eventually(() => informer.store.get(`${NAMESPACE}/${first}`) === undefined);
      const last = changes.at(-1);
      expect([last?.key, last?.current, keyOf(last?.previous ?? {})]).toEqual([
        `${NAMESPACE}/${first}`,
        undefined,
        `${NAMESPACE}/${first}`,
      ]);
    });
  });
}

/** Resolves when `condition` holds; rejects after a minute. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  withinMs = WITHIN_MS,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${condition.toString()}`);
    await sleep(10);
  }
}
