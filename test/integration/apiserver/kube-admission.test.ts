import { afterAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../../src/api/local-volume.ts';
import { NODE_INVENTORIES } from '../../../src/api/node-inventory.ts';
import { RELEASE } from '../../../src/controller/volumes/lost-node-volumes.ts';
import { PERSISTENT_VOLUME_ANNOTATION } from '../../../src/controller/context/views.ts';
import { STORAGE_POOLS } from '../../../src/api/storage-pool.ts';
import { NAMESPACES, NODES } from '../../../src/kube/built-in.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import { HttpKubeClient } from '../../../src/kube/http-client.ts';
import type { KubeObject, Resource } from '../../../src/kube/resource.ts';
import { type ApiServer, startApiServer } from './kube-api-server.ts';
import { eventually } from '../kube/kube-contract.ts';
import { installCrds, readManifests, resourceOfManifest } from './kube-manifests.ts';

interface TokenRequest extends KubeObject {
  readonly spec: object;
  readonly status?: { readonly token?: string };
}

const SERVICE_ACCOUNTS: Resource<KubeObject> = {
  group: '',
  version: 'v1',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
};

const NAMESPACE = 'keelson-system';
const AGENT = 'keelson-agent';
const CONTROLLER = 'keelson-controller';

describe('the admission policies', () => {
  let server: ApiServer | undefined;
  let admin: KubeClient;
  /**
   * With the token of the agent's pod on node-a. RBAC lets it write everything: what is refused,
   * the policy refuses.
   */
  let agent: KubeClient;
  /** The same service account with a token that no node is bound to. */
  let unbound: KubeClient;
  let controller: KubeClient;

  let prepared: Promise<void> | undefined;

  const prepare = async (context: Pick<TestContext, 'skip'>): Promise<void> => {
    server = await startApiServer(context);
    admin = server.client('admin');
    await installCrds(admin);
    await admin.create(NAMESPACES, { metadata: { name: NAMESPACE } });
    for (const name of [AGENT, CONTROLLER])
      await admin.create(SERVICE_ACCOUNTS, { metadata: { name, namespace: NAMESPACE } });
    await allowEverything(admin);
    await admin.create(LOCAL_VOLUMES, ownedVolume('owned'));
    const nodeA = await admin.create(NODES, { metadata: { name: 'node-a', labels: { team: 'x' } } });
    await admin.create(NODES, { metadata: { name: 'node-b' } });
    // Every new node has the taint not-ready from the API server itself.
    await admin.patch(NODES, { name: 'node-a' }, { merge: { spec: { taints: null } } });
    for (const name of ['node-a', 'node-b']) {
      await admin.create(LOCAL_VOLUMES, volume(`volume-${name}`, name));
      await admin.create(NODE_INVENTORIES, { metadata: { name } });
    }
    const bound = { kind: 'Node', apiVersion: 'v1', name: 'node-a', uid: nodeA.metadata?.uid };
    agent = clientWith(server, await tokenOf(admin, { boundObjectRef: bound }));
    unbound = clientWith(server, await tokenOf(admin, {}));
    controller = clientWith(server, await tokenOf(admin, {}, CONTROLLER));
    for (const object of await readManifests('admission')) {
      const { name = '' } = object.metadata ?? {};
      await admin.patch(resourceOfManifest(object), { name }, { apply: object, fieldManager: 'test' });
    }
    // The server takes new policies into its cache in the background.
    await eventually(async () => {
      const merge = { merge: {} };
      const dryRun = { dryRun: true };
      const node = await refused(unbound.patch(NODES, { name: 'node-b' }, merge, dryRun));
      const own = await refused(unbound.patch(NODE_INVENTORIES, { name: 'node-b' }, merge, dryRun));
      const owned = await refused(admin.delete(LOCAL_VOLUMES, { name: 'owned' }));
      if (!owned) await admin.create(LOCAL_VOLUMES, ownedVolume('owned'));
      return node && own && owned;
    });
  };
  beforeEach(async ({ skip }) => {
    await (prepared ??= prepare({ skip }));
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  const forbidden = async (writing: Promise<unknown>, message: RegExp): Promise<void> => {
    const error = await writing.catch((caught: unknown) => Fault.from(caught));
    expect(error).toBeInstanceOf(Fault);
    expect((error as Fault).message).toMatch(message);
    expect((error as Fault).kind).toBe('denied');
  };

  it('let an agent write the inventory of its node, and no other', async () => {
    const apply = { status: { agentVersion: '1.0.0' } };
    const write = (name: string): Promise<unknown> =>
      agent.patch(NODE_INVENTORIES, { name }, { apply, fieldManager: 'agent' }, { subresource: 'status' });
    await write('node-a');
    await forbidden(
      write('node-b'),
      /agent of node node-a may write the NodeInventory node-a alone, not node-b/,
    );
    await forbidden(agent.create(NODE_INVENTORIES, { metadata: { name: 'node-c' } }), /not node-c/);
    await forbidden(agent.delete(NODE_INVENTORIES, { name: 'node-b' }), /not node-b/);
    await agent.delete(NODE_INVENTORIES, { name: 'node-a' });
    await agent.create(NODE_INVENTORIES, { metadata: { name: 'node-a' } });
  });

  it('let an agent write the status of volumes on its node, and no other', async () => {
    const merge = { status: { phase: 'Ready', capacity: '1Gi' } };
    const write = (name: string): Promise<unknown> =>
      agent.patch(LOCAL_VOLUMES, { name }, { merge }, { subresource: 'status' });
    await write('volume-node-a');
    await forbidden(
      write('volume-node-b'),
      /may not write the LocalVolume volume-node-b, which is on node node-b/,
    );
  });

  it('let an agent add and remove the finalizers of Keelson on its volumes, and change nothing else of them', async () => {
    const name = { name: 'volume-node-a' };
    const finalizers = (list: readonly string[] | null): Promise<unknown> =>
      agent.patch(LOCAL_VOLUMES, name, { merge: { metadata: { finalizers: list } } });
    await finalizers(['keelson.dev/volume']);
    await finalizers(null);
    await forbidden(finalizers(['example.com/other']), /finalizers under keelson.dev\/ alone/);
    await forbidden(
      agent.patch(LOCAL_VOLUMES, name, { merge: { spec: { size: '2Gi' } } }),
      /status and its finalizers/,
    );
    await forbidden(
      agent.patch(LOCAL_VOLUMES, name, { merge: { metadata: { labels: { a: 'b' } } } }),
      /status and its finalizers/,
    );
    await forbidden(agent.create(LOCAL_VOLUMES, volume('mine', 'node-a')), /neither create nor delete/);
    await forbidden(agent.delete(LOCAL_VOLUMES, name), /neither create nor delete/);
  });

  const patchNode = (merge: object, name = 'node-a'): Promise<unknown> =>
    agent.patch(NODES, { name }, { merge });

  it.each<[string, object, RegExp]>([
    ['a label of ours', { metadata: { labels: { 'keelson.dev/disk': 'nvme' } } }, /labels/],
    ['a default label', { metadata: { labels: { 'gpu.keelson.dev/nvidia': 'true' } } }, /labels/],
    ['a role', { metadata: { labels: { 'node-role.kubernetes.io/control-plane': '' } } }, /labels/],
    ["another's label", { metadata: { labels: { team: 'y' } } }, /labels/],
    ["the absence of another's label", { metadata: { labels: { team: null } } }, /labels/],
    ['an annotation', { metadata: { annotations: { 'example.com/a': 'b' } } }, /annotations/],
    [
      'whose the taints are',
      { metadata: { annotations: { 'keelson.dev/rule-taints': 'a.b/c:NoSchedule' } } },
      /annotations/,
    ],
    ['a taint', { spec: { taints: [{ key: 'example.com/a', effect: 'NoExecute' }] } }, /taints/],
    [
      'the startup taint',
      { spec: { taints: [{ key: 'keelson.dev/agent-not-ready', effect: 'NoExecute' }] } },
      /taints/,
    ],
    ['that it takes no pods', { spec: { unschedulable: true } }, /nothing else/],
    ['its range', { spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24'] } }, /nothing else/],
    ['a finalizer', { metadata: { finalizers: ['example.com/stay'] } }, /nothing else/],
  ])('refuse an agent %s on its Node', async (_what, merge, message) => {
    await forbidden(patchNode(merge), message);
  });

  it('refuse an agent every write to other Nodes, and the creation, deletion and status of any', async () => {
    await forbidden(
      patchNode({ metadata: { labels: { 'keelson.dev/disk': 'nvme' } } }, 'node-b'),
      /Node node-b/,
    );
    await forbidden(patchNode({ spec: { taints: null } }, 'node-b'), /Node node-b/);
    for (const status of [{ phase: 'Running' }, { capacity: { 'example.com/gpu': '8' } }]) {
      await forbidden(
        agent.patch(NODES, { name: 'node-a' }, { merge: { status } }, { subresource: 'status' }),
        /subresources/,
      );
    }
    await forbidden(agent.create(NODES, { metadata: { name: 'node-c' } }), /neither create nor delete/);
    await forbidden(agent.delete(NODES, { name: 'node-b' }), /neither create nor delete/);
    await forbidden(agent.delete(NODES, { name: 'node-a' }), /neither create nor delete/);
  });

  it('let an agent remove the startup taint from its Node, and no other taint', async () => {
    const theirs = { key: 'example.com/hold', value: 'yes', effect: 'NoSchedule' };
    const startup = { key: 'keelson.dev/agent-not-ready', effect: 'NoSchedule' };
    const rule = { key: 'keelson.dev/slow', effect: 'NoSchedule' };
    await admin.patch(NODES, { name: 'node-a' }, { merge: { spec: { taints: [theirs, startup, rule] } } });
    const taint = (taints: readonly object[]): Promise<unknown> => patchNode({ spec: { taints } });
    await forbidden(taint([startup, rule]), /taints/);
    await forbidden(taint([theirs, startup]), /taints/);
    await forbidden(taint([{ ...theirs, value: 'no' }, startup, rule]), /taints/);
    await taint([theirs, rule]);
    await forbidden(taint([theirs, startup, rule]), /taints/);
    await admin.patch(NODES, { name: 'node-a' }, { merge: { spec: { taints: null } } });
  });

  it('refuse an agent every other kind of keelson.dev', async () => {
    const pool = { metadata: { name: 'mine' }, spec: { source: { path: '/srv' } } };
    await forbidden(agent.create(STORAGE_POOLS, pool as never), /an agent may not write storagepools/);
  });

  it('refuse a token of the agent that is not bound to a node', async () => {
    const merge = { status: { agentVersion: '1.0.0' } };
    await forbidden(
      unbound.patch(NODE_INVENTORIES, { name: 'node-a' }, { merge }, { subresource: 'status' }),
      /not bound to a node/,
    );
  });

  it('do not apply to other users', async () => {
    await admin.patch(NODES, { name: 'node-b' }, { merge: { metadata: { labels: { team: 'z' } } } });
    await admin.patch(NODE_INVENTORIES, { name: 'node-b' }, { merge: { metadata: { labels: { a: 'b' } } } });
    await admin.create(LOCAL_VOLUMES, volume('unowned', 'node-b'));
    await admin.delete(LOCAL_VOLUMES, { name: 'unowned' });
  });

  it("refuse the manual deletion of a volume with a PersistentVolume, but not the controller's", async () => {
    await forbidden(
      admin.delete(LOCAL_VOLUMES, { name: 'owned' }),
      /delete the data of PersistentVolume pv-1, which has this volume; delete its claim instead/,
    );
    await controller.delete(LOCAL_VOLUMES, { name: 'owned' });
  });

  it('allow the manual deletion of a volume that is retained, lost or released', async () => {
    const kept = {
      type: 'Owned',
      status: 'False' as const,
      reason: 'Retained',
      message: '',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    for (const status of [{ conditions: [kept] }, { phase: 'Lost' as const }]) {
      await admin.create(LOCAL_VOLUMES, ownedVolume('left'));
      await admin.patch(LOCAL_VOLUMES, { name: 'left' }, { merge: { status } }, { subresource: 'status' });
      await admin.delete(LOCAL_VOLUMES, { name: 'left' });
    }
    const { metadata } = await admin.create(LOCAL_VOLUMES, ownedVolume('left'));
    const giveUp = (uid: string | undefined): Promise<unknown> =>
      admin.patch(
        LOCAL_VOLUMES,
        { name: 'left' },
        { merge: { metadata: { annotations: { [RELEASE]: uid ?? '' } } } },
      );
    await giveUp('of another one');
    await forbidden(admin.delete(LOCAL_VOLUMES, { name: 'left' }), /delete the data/);
    await giveUp(metadata?.uid);
    await admin.delete(LOCAL_VOLUMES, { name: 'left' });
  });
});

function ownedVolume(name: string): LocalVolume {
  const { spec } = volume(name, 'node-b');
  return { metadata: { name, annotations: { [PERSISTENT_VOLUME_ANNOTATION]: 'pv-1' } }, spec };
}

function volume(name: string, nodeName: string): LocalVolume {
  const spec = {
    nodeName,
    poolName: 'default',
    type: 'Volume',
    size: '1Gi',
    volumeMode: 'Filesystem',
  } as const;
  return { metadata: { name }, spec };
}

async function refused(writing: Promise<unknown>): Promise<boolean> {
  return await writing.then(
    () => false,
    () => true,
  );
}

function clientWith(server: ApiServer, token: string): HttpKubeClient {
  return new HttpKubeClient({
    access: server.accessWithToken(token),
    userAgent: 'keelson-agent-test',
    qps: 500,
    burst: 500,
  });
}

async function tokenOf(admin: KubeClient, spec: object, name = AGENT): Promise<string> {
  const { status } = await admin.create(
    SERVICE_ACCOUNTS as Resource<TokenRequest>,
    {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: { name, namespace: NAMESPACE },
      spec,
    },
    { subresource: 'token' },
  );
  return status?.token ?? '';
}

async function allowEverything(admin: KubeClient): Promise<void> {
  const binding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'all-may-do-all' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [AGENT, CONTROLLER].map((name) => ({ kind: 'ServiceAccount', name, namespace: NAMESPACE })),
  };
  const resource: Resource<KubeObject> = {
    group: 'rbac.authorization.k8s.io',
    version: 'v1',
    plural: 'clusterrolebindings',
    kind: 'ClusterRoleBinding',
    namespaced: false,
  };
  await admin.create(resource, binding);
}
