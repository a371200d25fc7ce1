import { describe, expect, it } from 'vitest';
import { isContext, parseMountOptions } from './mount-options.ts';

const LABEL = 'system_u:object_r:container_file_t:s0:c1,c2';

describe('mount options', () => {
  it.each([
    ['none', [], [], undefined],
    ['one mount alone', ['ro', 'nosuid,nodev'], ['ro', 'nosuid', 'nodev'], undefined],
    ['kubelet, with commas in quotes', ['noatime', `context="${LABEL}"`], ['noatime'], LABEL],
    ['mount(8), several in one', [`nodev,context="${LABEL}",ro`], ['nodev', 'ro'], LABEL],
    ['a StorageClass without quotes', [`context=${LABEL}`], [], LABEL],
    ['the same, others behind it', [`context=${LABEL},noexec,ro`], ['noexec', 'ro'], LABEL],
    ['ranges of categories', ['context=u:r:t:s0:c0.c9,c20,c30.c40'], [], 'u:r:t:s0:c0.c9,c20,c30.c40'],
    ['two levels', ['context=u:r:t:s0:c1,c2-s1:c1,c2,c3'], [], 'u:r:t:s0:c1,c2-s1:c1,c2,c3'],
    ['a policy without levels', ['context=u:r:t'], [], 'u:r:t'],
    ['the same context twice, by class and kubelet', [`context=${LABEL}`, `context="${LABEL}"`], [], LABEL],
    ['an empty one, for others to refuse', [''], [''], undefined],
  ])('are read as of %s', (_, flags, own, context) => {
    expect(parseMountOptions(flags)).toEqual({ own, context });
  });

  it.each([
    ['a malformed context', ['context=x'], /"x", which is not an SELinux context user:role:type:level/],
    ['an empty context', ['context='], /not an SELinux context/],
    ['a context without a value', ['context'], /not an SELinux context/],
    ['blanks in a context', ['context="u:r:t:s0 c1"'], /not an SELinux context/],
    ['single quotes', [`context='u:r:t:s0'`], /not an SELinux context/],
    ['an option smuggled in by quotes', ['context="u:r:t:s0",context="a:b:c"x'], /not an SELinux context/],
    ['an unclosed quote', ['context="u:r:t:s0:c1,c2'], /unclosed double quote/],
    ['two contexts', ['context=u:r:t:s0', 'context=u:r:t:s1'], /twice, as u:r:t:s0 and u:r:t:s1/],
    ['categories as an option of their own', ['context=u:r:t:s0:c1', 'c2'], /c2 is part of an SELinux/],
    ['categories behind another option', ['noatime,c2'], /c2 is part of an SELinux/],
    ['fscontext', ['fscontext=u:r:t'], /fscontext is not supported; use context/],
    ['defcontext', ['ro,defcontext="u:r:t:s0:c1,c2"'], /defcontext is not supported/],
    ['rootcontext', ['rootcontext=u:r:t'], /rootcontext is not supported/],
    ['seclabel', ['seclabel'], /seclabel is not supported/],
  ])('are refused for %s', (_, flags, message) => {
    expect(() => parseMountOptions(flags)).toThrow(
      expect.objectContaining({ kind: 'invalid', message: expect.stringMatching(message) as string }),
    );
  });

  it('accept no context that could end a quote, an option or a line', () => {
    expect(isContext(LABEL)).toBe(true);
    for (const text of ['', 'a:b', 'a:b:c"', 'a:b:c\\', 'a:b:c:s0\n', 'a:b,c:d', 'a:b:c:s0=x'])
      expect(isContext(text), text).toBe(false);
  });
});
