import { describe, expect, it } from 'vitest';
import { Fault, type FaultKind } from '../core/fault.ts';
import { isExpired, isUnauthorized, retryAfterMs, statusFault } from './status-fault.ts';

const status = (reason: string, causes: readonly string[] = [], message = 'why'): string =>
  JSON.stringify({
    kind: 'Status',
    reason,
    message,
    details: { causes: causes.map((c) => ({ reason: c })) },
  });

describe('a failed response of the API server', () => {
  const table: readonly (readonly [number, string, FaultKind])[] = [
    [400, status('BadRequest'), 'invalid'],
    [401, status('Unauthorized'), 'denied'],
    [403, status('Forbidden'), 'denied'],
    [403, status('Forbidden', ['NamespaceTerminating']), 'precondition'],
    [404, status('NotFound'), 'not-found'],
    [405, status('MethodNotAllowed'), 'unsupported'],
    [409, status('AlreadyExists'), 'conflict'],
    [409, status('Conflict'), 'busy'],
    [409, status('Conflict', ['FieldManagerConflict']), 'conflict'],
    [410, status('Expired'), 'precondition'],
    [413, status('RequestEntityTooLarge'), 'invalid'],
    [415, status('UnsupportedMediaType'), 'unsupported'],
    [422, status('Invalid'), 'invalid'],
    [429, status('TooManyRequests'), 'unavailable'],
    [500, status('InternalError'), 'unavailable'],
    [502, '<html>bad gateway</html>', 'unavailable'],
    [503, '', 'unavailable'],
    [504, status('Timeout'), 'timeout'],
  ];
  for (const [code, body, kind] of table) {
    const { reason } = body.startsWith('{')
      ? (JSON.parse(body) as { reason: string })
      : { reason: 'no Status' };
    it(`with ${code} ${reason} is ${kind}`, () => {
      expect(statusFault({ request: 'get /x', status: code, body }).kind).toBe(kind);
    });
  }

  it('names the request, the message and the reason', () => {
    const fault = statusFault({
      request: 'get /api/v1/nodes/a',
      status: 404,
      body: status('NotFound', [], 'no a'),
    });
    expect(fault.message).toBe('get /api/v1/nodes/a: API server returned 404: no a');
    expect(fault.fields).toEqual({ status: 404, reason: 'NotFound' });
  });

  it('reads Retry-After from the header, else from the body', () => {
    const body = JSON.stringify({ kind: 'Status', details: { retryAfterSeconds: 7 } });
    expect(retryAfterMs(statusFault({ request: '', status: 429, body, retryAfter: '2' }))).toBe(2_000);
    expect(retryAfterMs(statusFault({ request: '', status: 429, body }))).toBe(7_000);
    expect(retryAfterMs(statusFault({ request: '', status: 429, body: '' }))).toBeUndefined();
  });

  it('is classified for callers', () => {
    expect(isExpired(statusFault({ request: '', status: 410, body: '' }))).toBe(true);
    expect(isExpired(new Fault('precondition', 'other'))).toBe(false);
    expect(isUnauthorized(statusFault({ request: '', status: 401, body: '' }))).toBe(true);
    expect(isUnauthorized(statusFault({ request: '', status: 403, body: '' }))).toBe(false);
  });
});
