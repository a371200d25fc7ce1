import { expect, test } from 'vitest';
import { parsePolicies } from '../../src/core/policies/policy-parse.ts';
import { encodeLen } from '../../src/rpc/wire.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import type { Reviewer } from './forwarder.ts';
import { createPolicyReviewer } from './policy-reviewer.ts';

/**
 * A container whose `linux` field is not a message: it can be matched, but its resources cannot be
 * changed.
 */
function unpatchable(namespace: string): Uint8Array {
  const metadata = encodeLen(1, encodeLen(3, Buffer.from(namespace)));
  const config = encodeLen(15, Buffer.from('ffffff', 'hex'));
  return Buffer.concat([encodeLen(2, config), encodeLen(3, metadata)]);
}

function reviewerWith(failurePolicy: string, spec: object = {}): { reviewer: Reviewer; failures: string[] } {
  const failures: string[] = [];
  const policy = {
    apiVersion: 'keelson.dev/v1alpha1',
    kind: 'RuntimePolicy',
    metadata: { name: 'limits' },
    spec: { mutate: { resources: { cpuShares: 100 } }, failurePolicy, ...spec },
  };
  const reviewer = createPolicyReviewer({
    source: { policies: parsePolicies(JSON.stringify(policy), 'test') },
    logger: silentLogger,
    onFailure: (operation) => failures.push(operation),
  });
  return { reviewer, failures };
}

test('a policy that must not be skipped refuses what it cannot be applied to', () => {
  const { reviewer, failures } = reviewerWith('Fail');
  expect(reviewer.review('CreateContainer', unpatchable('team-a'))).toMatchObject({
    kind: 'deny',
    code: 14,
    message: expect.stringContaining(
      'RuntimePolicy limits has failurePolicy Fail and could not be applied to pod team-a/',
    ) as string,
  });
  expect(failures).toEqual(['CreateContainer']);
});

test.each([
  ['a policy that may be skipped', 'Ignore', 'team-a'],
  ["a pod of the node's own", 'Fail', 'kube-system'],
])('%s lets such a request pass as it is', (_name, failurePolicy, namespace) => {
  const { reviewer, failures } = reviewerWith(failurePolicy);
  expect(reviewer.review('CreateContainer', unpatchable(namespace))).toEqual({ kind: 'forward' });
  expect(failures).toEqual(['CreateContainer']);
});

test('unreadable requests pass: the pod might be one that the node needs', () => {
  const { reviewer, failures } = reviewerWith('Fail');
  expect(reviewer.review('CreateContainer', undefined, 'it is compressed by zstd')).toEqual({
    kind: 'forward',
  });
  expect(failures).toEqual(['CreateContainer']);
});

test('only operations that a policy names are looked at', () => {
  const { reviewer } = reviewerWith('Ignore', { match: { operations: ['CreateContainer'] } });
  expect(reviewer.wants('CreateContainer')).toBe(true);
  expect(reviewer.wants('RunPodSandbox')).toBe(false);
});
