import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { POLICY_SAMPLES } from '../../test/integration/apiserver/kube-policy-samples.ts';
import { parsePolicies } from '../core/policies/policy-parse.ts';

describe('a RuntimePolicy as a file of the proxy', () => {
  // What the API server says to the same samples is in
  // test/integration/apiserver/kube-api-types.test.ts.
  for (const { name, spec, refused } of POLICY_SAMPLES) {
    it(`is ${refused === undefined ? 'taken' : 'refused'} as in the API: ${name}`, () => {
      const policy = {
        apiVersion: 'keelson.dev/v1alpha1',
        kind: 'RuntimePolicy',
        metadata: { name: 'p' },
        spec,
      };
      const parse = (): unknown => parsePolicies(stringify(policy), 'sample.yaml');
      if (refused === undefined) expect(parse()).toHaveLength(1);
      else expect(parse).toThrow(/sample\.yaml/);
    });
  }
});
