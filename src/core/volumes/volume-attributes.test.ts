import { describe, expect, it } from 'vitest';
import { attributeNames, limitsIo, parseAttributes, sameAttributes } from './volume-attributes.ts';

describe('attributes of a volume', () => {
  it('are quantities, absent for no limit', () => {
    const parsed = parseAttributes(
      { writeBandwidth: '4Mi', readIOPS: '1k', quotaInodes: '2048', readBandwidth: 'max' },
      'mutable_parameters',
    );
    expect(parsed).toEqual({ readIOPS: 1000n, writeBandwidth: 4n << 20n, quotaInodes: 2048n });
    expect(attributeNames(parsed)).toEqual(['readIOPS', 'writeBandwidth', 'quotaInodes']);
  });

  it('may be absent, which removes every limit', () => {
    expect(parseAttributes({}, 'mutable_parameters')).toEqual({});
    expect(limitsIo({})).toBe(false);
    expect(limitsIo({ quotaInodes: 100n })).toBe(false);
    expect(limitsIo({ writeIOPS: 100n })).toBe(true);
  });

  it('ignore keys that an orchestrator adds', () => {
    expect(parseAttributes({ 'csi.storage.k8s.io/pvc/name': 'data' }, 'p', 'csi.storage.k8s.io/')).toEqual(
      {},
    );
  });

  it.each([
    [
      { iops: '5' },
      'p: "iops" is unknown; expected readIOPS, writeIOPS, readBandwidth, writeBandwidth, quotaInodes',
    ],
    [{ readiops: '50' }, 'p: "readiops" is unknown'],
    [{ constructor: '50' }, 'p: "constructor" is unknown'],
    [{ readIOPS: '' }, 'p: readIOPS is ""; expected a number like 1000, or max for no limit'],
    [{ readIOPS: 'fast' }, 'p: readIOPS is "fast"; expected a number like 1000'],
    [{ readIOPS: '-1' }, 'p: readIOPS is "-1"'],
    [{ readIOPS: '0' }, 'p: readIOPS is "0"; expected 10 to 4294967295, or max for no limit'],
    [{ writeIOPS: '4294967296' }, 'expected 10 to 4294967295'],
    [{ writeBandwidth: '4Mx' }, 'p: writeBandwidth: invalid size "4Mx"'],
    [{ writeBandwidth: '1Ki' }, 'p: writeBandwidth is "1Ki"; expected 64 KiB to'],
  ])('refuse %j', (parameters, message) => {
    expect(() => parseAttributes(parameters, 'p')).toThrow(
      expect.objectContaining({ kind: 'invalid', message: expect.stringContaining(message) as string }),
    );
  });

  it('are the same in any order', () => {
    const left = parseAttributes({ readIOPS: '100', writeIOPS: '200' }, 'p');
    const right = parseAttributes({ writeIOPS: '200', readIOPS: '100' }, 'p');
    expect(JSON.stringify(left, (_, value: unknown) => String(value))).toBe(
      JSON.stringify(right, (_, value: unknown) => String(value)),
    );
    expect(sameAttributes(left, right)).toBe(true);
    expect(sameAttributes(left, { ...right, readIOPS: 101n })).toBe(false);
    expect(sameAttributes(left, { readIOPS: 100n })).toBe(false);
  });
});
