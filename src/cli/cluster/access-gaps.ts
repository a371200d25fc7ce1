import { isFault } from '../../core/fault.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import type { AccessGap } from './checks.ts';

interface SubjectAccessReview extends KubeObject {
  readonly spec: {
    readonly user: string;
    readonly groups: readonly string[];
    readonly resourceAttributes: {
      readonly group: string;
      readonly resource: string;
      readonly subresource?: string;
      readonly verb: string;
    };
  };
  readonly status?: { readonly allowed: boolean };
}

const REVIEWS: Resource<SubjectAccessReview> = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'subjectaccessreviews',
  kind: 'SubjectAccessReview',
  namespaced: false,
};

/** What each account cannot do without: verb, resource (with its subresource) and group. */
const NEEDS: Readonly<Record<string, readonly (readonly [verb: string, resource: string, group: string])[]>> =
  {
    'keelson-controller': [
      ['watch', 'persistentvolumeclaims', ''],
      ['patch', 'persistentvolumeclaims', ''],
      ['create', 'persistentvolumes', ''],
      ['delete', 'persistentvolumes', ''],
      ['watch', 'nodes', ''],
      ['watch', 'storageclasses', 'storage.k8s.io'],
      ['create', 'localvolumes', 'keelson.dev'],
      ['delete', 'localvolumes', 'keelson.dev'],
      ['watch', 'nodeinventories', 'keelson.dev'],
      ['create', 'events', 'events.k8s.io'],
    ],
    'keelson-agent': [
      ['watch', 'localvolumes', 'keelson.dev'],
      ['patch', 'localvolumes/status', 'keelson.dev'],
      ['create', 'nodeinventories', 'keelson.dev'],
      ['patch', 'nodeinventories/status', 'keelson.dev'],
      ['patch', 'nodes', ''],
    ],
  };

/** Asks the API server what the service accounts of Keelson that there are may not do. Writes nothing: a review is not kept. */
export async function findAccessGaps(
  accounts: readonly string[],
  namespace: string,
  client: Pick<KubeClient, 'create'>,
): Promise<readonly AccessGap[] | { readonly why: string }> {
  const known = Object.entries(NEEDS).filter(([account]) => accounts.includes(account));
  try {
    return await Promise.all(
      known.map(async ([account, needs]) => {
        const answers = await Promise.all(
          needs.map(async ([verb, resource, group]) => {
            const allowed = await mayDo(client, { account, namespace, verb, resource, group });
            return allowed ? [] : [`${verb} ${resource}${group === '' ? '' : `.${group}`}`];
          }),
        );
        return { account, lacks: answers.flat() };
      }),
    );
  } catch (error) {
    if (isFault(error, 'denied')) return { why: 'you may not create SubjectAccessReviews' };
    throw error;
  }
}

async function mayDo(
  client: Pick<KubeClient, 'create'>,
  {
    account,
    namespace,
    verb,
    resource,
    group,
  }: { account: string; namespace: string; verb: string; resource: string; group: string },
): Promise<boolean> {
  const [plural = '', subresource] = resource.split('/');
  const review = await client.create(REVIEWS, {
    spec: {
      user: `system:serviceaccount:${namespace}:${account}`,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
      resourceAttributes: {
        group,
        resource: plural,
        verb,
        ...(subresource === undefined ? {} : { subresource }),
      },
    },
  });
  return review.status?.allowed === true;
}
