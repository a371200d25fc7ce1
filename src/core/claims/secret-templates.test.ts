import { expect, test } from 'vitest';
import { isSecretKey, resolveSecrets, type SecretUse } from './secret-templates.ts';

const claim = { namespace: 'team', name: 'data', annotations: { 'team.dev/key': 'gold' } };
const resolve = (use: SecretUse, name: string | undefined, namespace: string | undefined) => {
  const parameters = {
    ...(name === undefined ? {} : { [`csi.storage.k8s.io/${use}-secret-name`]: name }),
    ...(namespace === undefined ? {} : { [`csi.storage.k8s.io/${use}-secret-namespace`]: namespace }),
  };
  return resolveSecrets({ name: 'local', parameters }, claim, 'pvc-1');
};

test('a class without Secrets has none', () => {
  expect(resolve('node-stage', undefined, undefined)).toEqual({});
});

test.each([
  ['${pv.name}-key', 'vault', { name: 'pvc-1-key', namespace: 'vault' }],
  ['${pvc.namespace}.${pvc.name}', '${pvc.namespace}', { name: 'team.data', namespace: 'team' }],
  ["${pvc.annotations['team.dev/key']}", '${pv.name}', { name: 'gold', namespace: 'pvc-1' }],
])('%s in %s is filled in', (name, namespace, expected) => {
  expect(resolve('node-stage', name, namespace)).toEqual({ 'node-stage': expected });
});

test.each([
  ['key', undefined, 'must be set together'],
  [undefined, 'vault', 'must be set together'],
  ["${pvc.annotations['other']}", 'vault', "has ${pvc.annotations['other']}, which cannot be resolved"],
  ['${pvc.uid}', 'vault', 'expected one of ${pv.name}, ${pvc.namespace}, ${pvc.name}'],
  ['key', '${pvc.name}', 'expected one of ${pv.name}, ${pvc.namespace}'],
  ['../key', 'vault', 'resolves to "../key", which is not a valid Secret name'],
  ['key', 'a.b', 'resolves to "a.b", which is not a valid namespace name'],
  ['${constructor}', 'vault', 'which cannot be resolved'],
])('%s in %s is refused', (name, namespace, words) => {
  expect(() => resolve('node-stage', name, namespace)).toThrow(words);
});

test('only the keys that are known are keys of Secrets', () => {
  expect(isSecretKey('csi.storage.k8s.io/node-expand-secret-name')).toBe(true);
  expect(isSecretKey('csi.storage.k8s.io/node-explode-secret-name')).toBe(false);
});
