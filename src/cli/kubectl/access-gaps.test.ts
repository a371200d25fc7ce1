import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { Fault } from '../../core/fault.ts';
import type { KubeClient } from '../../kube/client.ts';
import { findAccessGaps } from './access-gaps.ts';
import { NEEDED_RIGHTS } from './needed-rights.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules: readonly Rule[];
}

async function shippedRoles(): Promise<readonly Role[]> {
  const text = await readFile(join(import.meta.dirname, '../../../deploy/rbac.yaml'), 'utf8');
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Role)
    .filter(({ kind }) => kind.endsWith('Role'));
}

/** Every verb on every resource that the shipped roles of an account grant, one a line. */
async function granted(account: string): Promise<readonly string[]> {
  const roles = (await shippedRoles()).filter(({ metadata }) => metadata.name === account);
  return roles.flatMap(({ kind, rules }) =>
    rules.flatMap(({ apiGroups, resources, resourceNames = [undefined], verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          resourceNames.flatMap((name) =>
            verbs.map((verb) => line({ verb, resource, group, name, isOwnNamespace: kind === 'Role' })),
          ),
        ),
      ),
    ),
  );
}

function line(right: (typeof NEEDED_RIGHTS)[string][number]): string {
  const { verb, resource, group, name = '*', isOwnNamespace } = right;
  return [isOwnNamespace ? 'namespace' : 'cluster', group, resource, name, verb].join(' ');
}

describe('what doctor asks for', () => {
  test('is of every account that has a role', async () => {
    const names = (await shippedRoles()).map(({ metadata }) => metadata.name);
    expect([...new Set(names)].toSorted()).toEqual(Object.keys(NEEDED_RIGHTS).toSorted());
  });

  test.each(Object.keys(NEEDED_RIGHTS))('is what deploy/rbac.yaml grants to %s', async (account) => {
    const needed = (NEEDED_RIGHTS[account] ?? []).map(line);
    expect(needed.toSorted()).toEqual((await granted(account)).toSorted());
    expect(needed.length).toBeGreaterThan(10);
  });
});

interface Attributes {
  readonly verb: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly name?: string;
  readonly namespace?: string;
}

/** An API server that allows all but what `denies` says. */
function reviewer(denies: (asked: Attributes) => boolean): Pick<KubeClient, 'create'> {
  return {
    create: async (_resource, review) => {
      const { spec } = review as unknown as { spec: { resourceAttributes: Attributes } };
      return await Promise.resolve({ ...review, status: { allowed: !denies(spec.resourceAttributes) } });
    },
  };
}

test('lists missing rights by resource, with their verbs', async () => {
  const client = reviewer(
    ({ resource, subresource, name, namespace }) =>
      (resource === 'nodes' && subresource === undefined) ||
      (resource === 'leases' && name === 'keelson-controller' && namespace === 'sys'),
  );
  expect(await findAccessGaps(['keelson-controller', 'keelson-agent', 'other'], 'sys', client)).toEqual([
    {
      account: 'keelson-controller',
      lacks: [
        'get/list/watch/patch nodes',
        'get/update leases.coordination.k8s.io named keelson-controller in sys',
      ],
    },
    { account: 'keelson-agent', lacks: ['get/list/watch/patch nodes'] },
  ]);
});

test('skips missing accounts', async () => {
  expect(
    await findAccessGaps(
      ['default'],
      'sys',
      reviewer(() => true),
    ),
  ).toEqual([]);
});

test('names the missing right to create SubjectAccessReviews', async () => {
  const client: Pick<KubeClient, 'create'> = {
    create: async () => await Promise.reject(new Fault('denied', 'no')),
  };
  expect(await findAccessGaps(['keelson-agent'], 'sys', client)).toEqual({
    why: 'you may not create SubjectAccessReviews',
  });
});
