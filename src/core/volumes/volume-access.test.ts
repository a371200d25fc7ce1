import { describe, expect, it } from 'vitest';
import type { Publication } from './volume.ts';
import { decidePublish, planMount } from './volume-access.ts';

describe('mount options', () => {
  it.each([
    ['nothing', [], false, { readonly: false, set: 0n, clear: 0n }],
    ['read-only by the request', [], true, { readonly: true, set: 1n, clear: 0n }],
    ['read-only by an option', ['ro'], false, { readonly: true, set: 1n, clear: 0n }],
    ['a later rw over an earlier ro', ['ro', 'rw'], false, { readonly: false, set: 0n, clear: 0n }],
    ['a request for read-only over rw', ['rw'], true, { readonly: true, set: 1n, clear: 0n }],
    ['several in one string', ['nosuid,nodev', 'noexec'], false, { readonly: false, set: 0xen, clear: 0n }],
    [
      'a context, which is none',
      ['ro', 'context="u:r:t:s0:c1,c2"'],
      false,
      { readonly: true, set: 1n, clear: 0n },
    ],
    [
      'an access time mode, which replaces the others',
      ['noatime'],
      false,
      { readonly: false, set: 0x10n, clear: 0x70n },
    ],
  ])('turn %s into attributes', (_, flags, readonly, plan) => {
    expect(planMount(flags, readonly)).toEqual(plan);
  });

  it.each(['subvolid=5', 'bind', 'constructor', 'remount', ''])('refuse %s', (flag) => {
    expect(() => planMount([flag], false)).toThrow(expect.objectContaining({ kind: 'invalid' }));
  });
});

describe('publishing', () => {
  const at = (target: string, more: Partial<Publication> = {}): Publication => ({
    target,
    readonly: false,
    flags: [],
    accessMode: 'SINGLE_NODE_MULTI_WRITER',
    ...more,
  });

  it('is not repeated for the same publication', () => {
    expect(decidePublish([at('/a')], at('/a'))).toBe('already-published');
  });

  it('is not repeated with or without a context, which staging decides', () => {
    const named = at('/a', { flags: ['nosuid', 'context="u:r:t:s0:c1,c2"'] });
    expect(decidePublish([named], at('/a', { flags: ['nosuid'] }))).toBe('already-published');
  });

  it('lets several pods of the node share a volume', () => {
    expect(decidePublish([at('/a')], at('/b'))).toBe('publish');
  });

  it.each([{ readonly: true }, { flags: ['noexec'] }, { accessMode: 'SINGLE_NODE_WRITER' as const }])(
    'refuses the same target with %o',
    (change) => {
      expect(() => decidePublish([at('/a')], at('/a', change))).toThrow(
        expect.objectContaining({ kind: 'conflict' }),
      );
    },
  );

  it('refuses a second target with SINGLE_NODE_SINGLE_WRITER, in either order', () => {
    const alone = { accessMode: 'SINGLE_NODE_SINGLE_WRITER' as const };
    expect(decidePublish([], at('/a', alone))).toBe('publish');
    for (const [first, second] of [
      [at('/a', alone), at('/b')],
      [at('/a'), at('/b', alone)],
    ] as const) {
      expect(() => decidePublish([first], second)).toThrow(expect.objectContaining({ kind: 'precondition' }));
    }
  });
});
