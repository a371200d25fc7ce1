import { afterAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { NAMESPACES } from '../../../src/kube/built-in.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import { HttpKubeClient } from '../../../src/kube/http-client.ts';
import type { KubeObject, Resource } from '../../../src/kube/resource.ts';
import { type ApiServer, startApiServer } from './kube-api-server.ts';
import { eventually } from '../kube/kube-contract.ts';
import { installCrds, readManifest } from './kube-manifests.ts';

interface AccessReview extends KubeObject {
  readonly spec: object;
  readonly status?: { readonly allowed?: boolean };
}

interface TokenRequest extends KubeObject {
  readonly spec: object;
  readonly status?: { readonly token?: string };
}

const NAMESPACE = 'keelson-system';
const ACCESS_REVIEWS: Resource<AccessReview> = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'selfsubjectaccessreviews',
  kind: 'SelfSubjectAccessReview',
  namespaced: false,
};

/** What Keelson does not need, and a stolen token would be good for. */
const NEVER = [
  'list secrets',
  'get secrets',
  'create pods',
  'delete pods',
  'create pods/exec',
  'create serviceaccounts/token',
  'delete nodes',
  'create nodes',
  'get nodes/proxy',
  'patch daemonsets.apps',
  'patch clusterroles.rbac.authorization.k8s.io',
  'bind clusterroles.rbac.authorization.k8s.io',
  'impersonate users',
  'patch customresourcedefinitions.apiextensions.k8s.io',
  'patch validatingadmissionpolicies.admissionregistration.k8s.io',
  'patch csidrivers.storage.k8s.io',
];

/** What deploy/orphan-collection.yaml adds. */
const TO_COLLECT = [
  'list persistentvolumes',
  'list volumesnapshotcontents.snapshot.storage.k8s.io',
  'list volumegroupsnapshotcontents.groupsnapshot.storage.k8s.io',
];

describe('the roles of deploy/rbac.yaml, each by a token of its service account', () => {
  let server: ApiServer | undefined;
  const clients = new Map<string, KubeClient>();
  let prepared: Promise<void> | undefined;

  const prepare = async (context: Pick<TestContext, 'skip'>): Promise<void> => {
    server = await startApiServer(context);
    const admin = server.client('admin');
    await installCrds(admin);
    await admin.create(NAMESPACES, { metadata: { name: NAMESPACE } });
    for (const object of await readManifest('rbac.yaml')) {
      await admin.create(resourceOf(object), object);
    }
    for (const name of ['keelson-agent', 'keelson-controller']) {
      const { status } = await admin.create(
        resourceOf({ apiVersion: 'v1', kind: 'ServiceAccount' }) as Resource<TokenRequest>,
        {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          metadata: { name, namespace: NAMESPACE },
          spec: {},
        },
        { subresource: 'token' },
      );
      const access = server.accessWithToken(status?.token ?? '');
      clients.set(name, new HttpKubeClient({ access, userAgent: 'test', qps: 500, burst: 500 }));
    }
    // The server learns of new roles, its own among them, in the background.
    for (const account of clients.keys()) {
      await eventually(async () => {
        const allowed = await allowedOf(account, ['watch localvolumes.keelson.dev']).catch(() => []);
        return allowed.length > 0;
      });
    }
  };
  beforeEach(async ({ skip }) => {
    await (prepared ??= prepare({ skip }));
  }, 300_000);
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  /**
   * Which of the rights, as `VERB RESOURCE.GROUP/SUBRESOURCE`, the account has anywhere in the
   * cluster.
   */
  const allowedOf = async (account: string, rights: readonly string[]): Promise<string[]> => {
    const allowed: string[] = [];
    for (const right of rights) {
      const [verb = '', what = ''] = right.split(' ');
      const [path = '', subresource = ''] = what.split('/');
      const [resource = '', ...group] = path.split('.');
      const resourceAttributes = { verb, resource, subresource, group: group.join('.') };
      const review = await clients.get(account)?.create(ACCESS_REVIEWS, { spec: { resourceAttributes } });
      if (review?.status?.allowed === true) allowed.push(right);
    }
    return allowed;
  };

  it('allow an agent the requests that it makes', async () => {
    const work = [
      'watch localvolumes.keelson.dev',
      'patch localvolumes.keelson.dev/status',
      'patch nodeinventories.keelson.dev/status',
      'watch nodes',
    ];
    expect(await allowedOf('keelson-agent', work)).toEqual(work);
  });

  it('deny an agent other requests', async () => {
    const others = [
      'create localvolumes.keelson.dev',
      'delete localvolumes.keelson.dev',
      'delete nodeinventories.keelson.dev',
      'patch storagepools.keelson.dev',
      'patch storagepools.keelson.dev/status',
      'patch runtimepolicies.keelson.dev',
      'patch nodes/status',
      'patch persistentvolumes',
      'list persistentvolumeclaims',
      'list pods',
      'get configmaps',
      'create events.events.k8s.io',
    ];
    expect(await allowedOf('keelson-agent', [...NEVER, ...others, ...TO_COLLECT])).toEqual([]);
  });

  it('allow the controller the requests that it makes', async () => {
    const work = [
      'create localvolumes.keelson.dev',
      'create persistentvolumes',
      'patch persistentvolumeclaims/status',
      'patch nodes/status',
      'patch nodeinventories.keelson.dev/status',
      'create events.events.k8s.io',
    ];
    expect(await allowedOf('keelson-controller', work)).toEqual(work);
  });

  it('let an agent that collects orphans read the references to volumes, with deploy/orphan-collection.yaml', async () => {
    for (const object of await readManifest('orphan-collection.yaml')) {
      await server?.client('admin').create(resourceOf(object), object);
    }
    await eventually(async () => (await allowedOf('keelson-agent', TO_COLLECT)).length === TO_COLLECT.length);
    const others = [
      'get persistentvolumes',
      'patch persistentvolumes',
      'list volumesnapshots.snapshot.storage.k8s.io',
    ];
    expect(await allowedOf('keelson-agent', [...NEVER, ...others])).toEqual([]);
  });

  it('deny the controller other requests', async () => {
    const others = [
      'create persistentvolumeclaims',
      'delete persistentvolumeclaims',
      'list pods',
      'get configmaps',
      'create nodeinventories.keelson.dev',
      'patch nodeinventories.keelson.dev',
      'patch runtimepolicies.keelson.dev',
      // Only in its own namespace, and there only the one that it holds.
      'update leases.coordination.k8s.io',
      'create csistoragecapacities.storage.k8s.io',
    ];
    expect(await allowedOf('keelson-controller', [...NEVER, ...others])).toEqual([]);
  });
});

function resourceOf({ apiVersion = '', kind = '' }: KubeObject): Resource<KubeObject> {
  const [version = '', group = ''] = apiVersion.split('/').reverse();
  const namespaced = kind === 'ServiceAccount' || kind === 'Role' || kind === 'RoleBinding';
  return { group, version, plural: `${kind.toLowerCase()}s`, kind, namespaced };
}
