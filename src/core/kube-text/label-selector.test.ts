import { expect, test } from 'vitest';
import { meetsRequirement, selectsLabels } from './label-selector.ts';

test.each([
  ['web', 'In', ['db', 'web'], true],
  ['web', 'In', ['db'], false],
  [undefined, 'In', ['web'], false],
  ['web', 'NotIn', ['web'], false],
  [undefined, 'NotIn', ['web'], true],
  ['web', 'Exists', [], true],
  [undefined, 'Exists', [], false],
  [undefined, 'DoesNotExist', [], true],
  ['web', 'DoesNotExist', [], false],
  ['10', 'Gt', ['9'], true],
  ['9', 'Gt', ['9'], false],
  ['web', 'Gt', ['9'], false],
  [undefined, 'Gt', ['9'], false],
  ['9007199254740993', 'Gt', ['9007199254740992'], true],
  ['-1', 'Gt', ['-2'], true],
  ['', 'Lt', ['9'], false],
  ['1e3', 'Gt', ['9'], false],
  ['10', 'Gt', [], false],
  ['8', 'Lt', ['9'], true],
  [undefined, 'Lt', ['9'], false],
  ['web', 'Like', ['web'], false],
])('the value %s is %s %j: %s', (value, operator, values, expected) => {
  expect(meetsRequirement(value, operator, values)).toBe(expected);
});

test.each([
  ['no selector selects all', undefined, true],
  ['an empty one as well', {}, true],
  ['a label', { matchLabels: { app: 'web' } }, true],
  ['another value', { matchLabels: { app: 'db' } }, false],
  ['a requirement', { matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] }, true],
  [
    'all of them must hold',
    { matchLabels: { app: 'web' }, matchExpressions: [{ key: 'tier', operator: 'Exists' }] },
    false,
  ],
] as const)('%s', (_name, selector, expected) => {
  expect(selectsLabels(selector, { app: 'web' })).toBe(expected);
});
