import { expect, test } from 'vitest';
import { parseAccess } from './capabilities.ts';

const withGroup = (volume_mount_group: string) => ({
  access_type: 'mount' as const,
  mount: { fs_type: '', mount_flags: [], volume_mount_group },
  access_mode: { mode: 'SINGLE_NODE_WRITER' as const },
});

test.each([
  ['', undefined],
  ['0', 0],
  ['2000', 2000],
  ['4294967294', 4_294_967_294],
])('volume_mount_group %j is the group %j', (text, group) => {
  expect(parseAccess(withGroup(text)).group).toBe(group);
});

// chown(2) takes the first of them for no change at all.
test.each(['4294967295', '4294967296', '99999999999', '-1', '+1', '1.5', '0x10', '010', ' 1', '1 ', 'users'])(
  'volume_mount_group %j is refused, and why',
  (text) => {
    expect(() => parseAccess(withGroup(text))).toThrow(
      expect.objectContaining({
        kind: 'invalid',
        message: `volume_capability: volume_mount_group is ${JSON.stringify(text)}; expected a group id in decimal digits, 0 to 4294967294`,
      }),
    );
  },
);
