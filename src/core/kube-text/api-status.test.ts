import { expect, test } from 'vitest';
import { type ApiCondition, apiTime, canonicalJson, clip, reasonOf, settleConditions } from './api-status.ts';

const condition = (status: ApiCondition['status'], lastTransitionTime: string): ApiCondition => ({
  type: 'Ready',
  status,
  lastTransitionTime,
  reason: 'Any',
  message: '',
});

test('a condition that did not turn keeps its time; one that turned gets the new one', () => {
  const before = [condition('True', 'then')];
  expect(settleConditions(before, [condition('True', 'now')])).toEqual([condition('True', 'then')]);
  expect(settleConditions(before, [condition('False', 'now')])).toEqual([condition('False', 'now')]);
  expect(settleConditions(undefined, [condition('True', 'now')])).toEqual([condition('True', 'now')]);
});

test('values are equal whatever the order of their keys, but not of their lists', () => {
  expect(canonicalJson({ a: 1, b: { c: 2, d: undefined } })).toBe(canonicalJson({ b: { c: 2 }, a: 1 }));
  expect(canonicalJson([1, 2])).not.toBe(canonicalJson([2, 1]));
  expect(canonicalJson(undefined)).toBe('null');
});

test('times, reasons and long texts are as the API takes them', () => {
  expect(apiTime(new Date(1_234))).toBe('1970-01-01T00:00:01Z');
  expect(reasonOf({ kind: 'out-of-range' })).toBe('OutOfRange');
  expect(clip('abcdef', 4)).toBe('abc…');
});
