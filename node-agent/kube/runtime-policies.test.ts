import { afterEach, beforeEach, expect, test } from 'vitest';
import { RUNTIME_POLICIES, type RuntimePolicyObject } from '../../src/api/runtime-policy.ts';
import { Fault } from '../../src/core/fault.ts';
import { parsePolicies } from '../../src/core/policies/policy-parse.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { RuntimePolicies } from './runtime-policies.ts';

const DIRECTORY = '/state/policies/current';

let client: FakeApiClient;
let clock: FakeClock;
let sets: ReadonlyMap<string, string>[];
let changes: number;
/** A proxy that takes each file as it is, but for those that it refuses. */
let proxy: { readonly refuses: Set<string> } | undefined;
let policies: RuntimePolicies;
let stop: () => Promise<void>;

beforeEach(async () => {
  client = new FakeApiClient();
  clock = new FakeClock();
  sets = [];
  changes = 0;
  proxy = { refuses: new Set() };
  policies = new RuntimePolicies({
    client,
    directory: DIRECTORY,
    files: {
      async replace(texts) {
        if (JSON.stringify([...texts]) === JSON.stringify([...(sets.at(-1) ?? [])]) && sets.length > 0)
          return false;
        sets.push(texts);
        return true;
      },
    },
    askProxy: async () => proxy && { policies: answer(proxy.refuses) },
    logger: silentLogger,
    clock,
    onChange: () => (changes += 1),
  });
});
afterEach(async () => {
  await stop();
});

function answer(refuses: ReadonlySet<string>): object {
  const files = [...(sets.at(-1) ?? [])];
  const taken = files
    .filter(([name]) => !refuses.has(name))
    .flatMap(([name, text]) => parsePolicies(text, name));
  return {
    inForce: taken.map(({ name, origin }) => ({ name, ...origin })),
    faults: files
      .filter(([name]) => refuses.has(name))
      .map(([name]) => ({ file: `${DIRECTORY}/${name}`, message: 'no' })),
  };
}

async function start(): Promise<void> {
  const end = new AbortController();
  const running = policies.run(end.signal);
  stop = async () => {
    end.abort(new DOMException('stop', 'AbortError'));
    await running;
  };
  await clock.advance(1_000);
}

const create = (name: string): Promise<RuntimePolicyObject> =>
  client.create(RUNTIME_POLICIES, {
    metadata: { name },
    spec: { audit: true, failurePolicy: 'Ignore', dryRun: false },
  });

test('each policy is a file that the proxy can read, and one that is deleted is none', async () => {
  await create('a');
  await create('b');
  await start();
  expect([...(sets.at(-1)?.keys() ?? [])].sort()).toEqual(['a.yaml', 'b.yaml']);
  expect(await policies.inForce()).toMatchObject([
    { name: 'a', generation: 1 },
    { name: 'b', generation: 1 },
  ]);
  await client.delete(RUNTIME_POLICIES, { name: 'a' });
  await clock.advance(1_000);
  expect([...(sets.at(-1)?.keys() ?? [])]).toEqual(['b.yaml']);
  expect(changes).toBe(2);
});

test('without an answer of the API server, nothing is written, and so what was there stays', async () => {
  await create('a');
  for (let i = 0; i < 20; i += 1)
    client.failures.push({ verb: 'list', error: new Fault('unavailable', 'away') });
  await start();
  await clock.advance(30_000);
  expect(sets).toEqual([]);
  expect(await policies.inForce()).toBeUndefined();
});

test('a change of the status does not change the policy', async () => {
  await create('a');
  await start();
  await client.patch(
    RUNTIME_POLICIES,
    { name: 'a' },
    { merge: { status: { nodes: 3 } } },
    { subresource: 'status' },
  );
  await clock.advance(10_000);
  expect([sets.length, changes]).toEqual([1, 1]);
});

test('a policy that the proxy refuses is reported with its reason', async () => {
  proxy?.refuses.add('a.yaml');
  const { metadata } = await create('a');
  await start();
  expect(await policies.inForce()).toEqual([{ name: 'a', uid: metadata?.uid, problem: 'no' }]);
});

test('a node without proxy has nothing in force, and says nothing', async () => {
  proxy = undefined;
  await create('a');
  await start();
  expect(sets).toHaveLength(1);
  expect(await policies.inForce()).toBeUndefined();
});
