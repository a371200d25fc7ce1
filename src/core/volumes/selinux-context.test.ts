import { describe, expect, it } from 'vitest';
import type { BackendKind } from './backend-features.ts';
import {
  decideContext,
  parseSelinuxState,
  requireOwnFilesystem,
  requireSelinux,
  requireStagedContext,
} from './selinux-context.ts';
import type { VolumeMode } from './volume.ts';

const [ONE, OTHER] = ['u:object_r:container_file_t:s0:c1,c2', 'u:object_r:container_file_t:s0:c3,c4'];

describe('SELinux of a host', () => {
  const filesystems = 'nodev\tsysfs\nnodev\tselinuxfs\n\text4\n';
  it.each([
    ['active in a process with a context', filesystems, 'system_u:system_r:spc_t:s0\0', 'active'],
    ['without a policy where all are the kernel', filesystems, 'kernel\0', 'no-policy'],
    ['without a policy for an unreadable attribute', filesystems, '', 'no-policy'],
    ['absent beside AppArmor', 'nodev\tsysfs\n\text4\n', 'runc (unconfined)\n', 'absent'],
    [
      'absent where another file system is called alike',
      '\tselinuxfs\nnodev\tselinuxfs2\n',
      'a:b:c',
      'absent',
    ],
  ])('is %s', (_, known, current, state) => {
    expect(parseSelinuxState(known, current)).toBe(state);
  });

  it('is required, with a policy, for a context', () => {
    expect(() => requireSelinux('vol-1', ONE, 'active')).not.toThrow();
    expect(() => requireSelinux('vol-1', ONE, 'absent')).toThrow(
      expect.objectContaining({
        kind: 'precondition',
        message: `volume vol-1 cannot be mounted with context ${ONE}: the kernel of this node has no SELinux, or it is disabled; omit the option, or boot the node with SELinux and a policy`,
      }),
    );
    expect(() => requireSelinux('vol-1', ONE, 'no-policy')).toThrow(/no policy is loaded/);
  });
});

describe('a context', () => {
  it.each([
    ['image', 'Filesystem', true],
    ['image', 'Block', false],
    ['btrfs', 'Filesystem', false],
    ['directory', 'Filesystem', false],
  ] as const)('on %s, %s: %s', (backend: BackendKind, volumeMode: VolumeMode, isPossible) => {
    const volume = { id: 'vol-1', pool: 'fast', volumeMode };
    const require = (): void => requireOwnFilesystem(volume, { backend }, ONE);
    if (isPossible) {
      expect(require).not.toThrow();
      return;
    }
    expect(require).toThrow(
      expect.objectContaining({
        kind: 'invalid',
        message: expect.stringMatching(/pool fast \(\w+\) has one file system.* backend image/) as string,
      }),
    );
  });

  it.each([
    ['is the requested one for a volume not in use', undefined, ONE, undefined, ONE],
    ['is another one once nothing holds it', ONE, OTHER, undefined, OTHER],
    ['is none any more once nothing holds it', ONE, undefined, undefined, undefined],
    ['is the same again', ONE, ONE, '/pod', ONE],
    ['is taken over by who names none', ONE, undefined, '/pod', ONE],
  ])('%s', (_, selinuxContext, wanted, heldAt, decided) => {
    expect(decideContext({ id: 'vol-1', selinuxContext }, wanted, heldAt)).toBe(decided);
  });

  it.each([
    [ONE, `is in use at /pod with context ${ONE}, and cannot have context ${OTHER}`],
    [undefined, `is in use at /pod without a context, and cannot have context ${OTHER}`],
  ])('of a volume in use (%s) stays', (selinuxContext, words) => {
    expect(() => decideContext({ id: 'vol-1', selinuxContext }, OTHER, '/pod')).toThrow(
      expect.objectContaining({ kind: 'precondition', message: expect.stringContaining(words) as string }),
    );
  });

  it('is that of the staged volume at every target', () => {
    for (const wanted of [undefined, ONE]) {
      expect(() => requireStagedContext({ id: 'vol-1', selinuxContext: ONE }, wanted)).not.toThrow();
    }
    for (const [staged, words] of [
      [ONE, `staged with context ${ONE}`],
      [undefined, 'staged without a context'],
    ] as const) {
      expect(() => requireStagedContext({ id: 'vol-1', selinuxContext: staged }, OTHER)).toThrow(
        expect.objectContaining({
          kind: 'precondition',
          message: expect.stringMatching(`${words}, and cannot be published with context ${OTHER}`) as string,
        }),
      );
    }
  });
});
