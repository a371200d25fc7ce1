import { describe, expect, it } from 'vitest';
import { withoutSecrets } from './redact.ts';

describe('withoutSecrets', () => {
  it('censors secret fields at any depth, inside arrays too', () => {
    expect(withoutSecrets({ a: [{ b: { c: { d: { e: [{ token: 'x', kept: 1 }] } } } }] })).toEqual({
      a: [{ b: { c: { d: { e: [{ token: '[redacted]', kept: 1 }] } } } }],
    });
  });

  it('censors a secret field whatever its value is', () => {
    expect(withoutSecrets({ secrets: { key: 'x' }, auth: null, password: 0 })).toEqual({
      secrets: '[redacted]',
      auth: '[redacted]',
      password: '[redacted]',
    });
  });

  it('leaves its argument, errors and values of other classes alone', () => {
    const err = new Error('no');
    const at = new Date(0);
    const fields = { err, at, sizeBytes: 1n, nested: { password: 'x' } };
    expect(withoutSecrets(fields)).toEqual({ err, at, sizeBytes: 1n, nested: { password: '[redacted]' } });
    expect(fields.nested.password).toBe('x');
  });

  it('shows the length of bytes instead of the bytes', () => {
    expect(withoutSecrets({ value: Buffer.from('hunter2') })).toEqual({ value: '[7 bytes]' });
  });

  it('ends for an object that holds itself', () => {
    const self: Record<string, unknown> = {};
    self['self'] = self;
    expect(JSON.stringify(withoutSecrets(self))).toContain('[too deep]');
  });
});
