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

/** Reviews the access of Keelson's service accounts. SubjectAccessReviews are not stored. */
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
          needed.map(async (right) =>
            (await isAllowed(client, { account, namespace, right })) ? [] : [right],
          ),
        );
        return { account, lacks: describeRights(answers.flat(), namespace) };
      }),
    );
  } catch (error) {
    if (isFault(error, 'denied')) return { why: 'you may not create SubjectAccessReviews' };
    throw error;
  }
}

/** Groups verbs by resource: `get/watch nodes`. */
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

interface AccessQuestion {
  readonly account: string;
  /** Namespace of Keelson. */
  readonly namespace: string;
  readonly right: Right;
}

async function isAllowed(
  client: Pick<KubeClient, 'create'>,
  { account, namespace, right: { verb, group, resource, name, isOwnNamespace } }: AccessQuestion,
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
