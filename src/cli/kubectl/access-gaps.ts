import { isFault } from '../../core/fault.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import type { AccessGap } from './checks.ts';
import { NEEDED_RIGHTS, type Right } from './needed-rights.ts';

interface SubjectAccessReview extends KubeObject {
  readonly spec: {
    readonly user: string;
    readonly groups: readonly string[];
    readonly resourceAttributes: {
      readonly group: string;
      readonly resource: string;
      readonly subresource?: string;
      readonly namespace?: string;
      readonly name?: string;
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

/** Asks the API server what the service accounts of Keelson that there are may not do. Writes nothing: a review is not kept. */
export async function findAccessGaps(
  accounts: readonly string[],
  namespace: string,
  client: Pick<KubeClient, 'create'>,
): Promise<readonly AccessGap[] | { readonly why: string }> {
  const known = Object.entries(NEEDED_RIGHTS).filter(([account]) => accounts.includes(account));
  try {
    return await Promise.all(
      known.map(async ([account, needed]) => {
        const answers = await Promise.all(
          needed.map(async (right) => ((await mayDo(client, { account, namespace, right })) ? [] : [right])),
        );
        return { account, lacks: describeRights(answers.flat(), namespace) };
      }),
    );
  } catch (error) {
    if (isFault(error, 'denied')) return { why: 'you may not create SubjectAccessReviews' };
    throw error;
  }
}

/** `get/watch nodes`: the verbs of one resource together. */
function describeRights(rights: readonly Right[], namespace: string): readonly string[] {
  const places = Map.groupBy(rights, ({ resource, group, name, isOwnNamespace }) =>
    [
      group === '' ? resource : `${resource}.${group}`,
      ...(name === undefined ? [] : [`named ${name}`]),
      ...(isOwnNamespace ? [`in ${namespace}`] : []),
    ].join(' '),
  );
  return [...places].map(([place, those]) => `${those.map(({ verb }) => verb).join('/')} ${place}`);
}

interface Question {
  readonly account: string;
  /** Keelson's own. */
  readonly namespace: string;
  readonly right: Right;
}

async function mayDo(
  client: Pick<KubeClient, 'create'>,
  { account, namespace, right: { verb, group, resource, name, isOwnNamespace } }: Question,
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
        ...(name === undefined ? {} : { name }),
        ...(isOwnNamespace ? { namespace } : {}),
      },
    },
  });
  return review.status?.allowed === true;
}
