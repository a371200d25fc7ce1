import { expect, test } from 'vitest';
import { Fault, isFault } from './fault.ts';

test.each([
  ['ENOENT', 'not-found'],
  ['ENOSPC', 'exhausted'],
  ['EDQUOT', 'exhausted'],
  ['EBUSY', 'busy'],
  ['EACCES', 'denied'],
  ['ECONNREFUSED', 'unavailable'],
] as const)('an error with code %s is a %s fault that keeps its cause', (code, kind) => {
  const cause = Object.assign(new Error(`${code}: it failed`), { code });
  const fault = Fault.from(cause);
  expect(fault.kind).toBe(kind);
  expect(fault.cause).toBe(cause);
});

test('an unknown error is a bug whose message shows nothing of it', () => {
  const fault = Fault.from(new Error('password=hunter2'));
  expect(fault.kind).toBe('bug');
  expect(fault.message).not.toContain('hunter2');
});

test('a fault stays the same fault, and isFault tells its kind', () => {
  const fault = new Fault('busy', 'volume v1 has an operation in flight');
  expect(Fault.from(fault)).toBe(fault);
  expect(isFault(fault, 'busy')).toBe(true);
  expect(isFault(fault, 'conflict')).toBe(false);
  expect(isFault(new Error('x'))).toBe(false);
});

test('aborts and timeouts are distinguished', () => {
  expect(Fault.from(new DOMException('x', 'AbortError')).kind).toBe('cancelled');
  expect(Fault.from(new DOMException('x', 'TimeoutError')).kind).toBe('timeout');
});
