import { expect, test } from 'vitest';
import { parsePolicies } from '../core/policies/policy-parse.ts';
import { DEMO_POLICY, DENIED_LABEL, POLICY_VARIABLE } from './policy.ts';

test('the policies of the demo are valid', () => {
  const [variable, unwanted] = parsePolicies(DEMO_POLICY, 'demo.yaml');
  expect(variable?.mutation?.env.set.get(POLICY_VARIABLE)).toBe('hello-from-the-policy');
  expect(unwanted?.match.podSelector?.matchExpressions).toEqual([
    { key: DENIED_LABEL, operator: 'Exists', values: [] },
  ]);
  expect(unwanted?.deny).toBeDefined();
});
