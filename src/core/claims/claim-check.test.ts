import { expect, test } from 'vitest';
import { checkClaim } from './claim-check.ts';
import type { ClaimView } from './provision.ts';

const claim: ClaimView = {
  uid: '1',
  namespace: 'team',
  name: 'data',
  isDeleting: false,
  className: 'local',
  volumeName: '',
  provisioner: 'keelson.dev',
  selectedNode: undefined,
  request: '2Gi',
  accessModes: ['ReadWriteOncePod'],
  volumeMode: 'Filesystem',
  hasSelector: false,
  attributesClassName: undefined,
  dataSource: undefined,
};

test('a claim that can be served has its size in bytes', () => {
  expect(checkClaim(claim)).toBe(2n << 30n);
});

test.each([
  ['an unknown mode', { volumeMode: 'Tape' }, 'claim team/data requests volumeMode Tape'],
  ['a selector', { hasSelector: true }, 'has a selector'],
  ['several nodes', { accessModes: ['ReadWriteOnce', 'ReadWriteMany'] }, 'requests ReadWriteMany'],
  ['no space', { request: '0' }, 'requests no storage'],
  ['nonsense for space', { request: 'much' }, 'spec.resources.requests.storage'],
])('a claim with %s is refused in words for its author', (_name, change, words) => {
  expect(() => checkClaim({ ...claim, ...change })).toThrow(words);
});
