import { describe, expect, it } from 'vitest';
import { parseClassParameters } from './provision-class.ts';

const parse = (parameters: Record<string, string>): ReturnType<typeof parseClassParameters> =>
  parseClassParameters({ name: 'fast', parameters });
const secret = {
  'csi.storage.k8s.io/node-stage-secret-name': 'key',
  'csi.storage.k8s.io/node-stage-secret-namespace': 'default',
};

describe('the parameters of a class', () => {
  it('are understood, and handed on where they are the driver’s own', () => {
    const own = { pool: 'p', poolSelector: 'media=ssd', backend: 'image', encrypted: 'true' };
    expect(parse({ ...own, ...secret, 'csi.storage.k8s.io/fstype': 'ext4' })).toEqual({
      pool: 'p',
      poolSelector: {
        text: 'media=ssd',
        selector: { matchExpressions: [{ key: 'media', operator: 'In', values: ['ssd'] }] },
      },
      backend: 'image',
      fsType: 'ext4',
      encrypted: true,
      own,
    });
    expect(parse({})).toMatchObject({ encrypted: false, own: {} });
  });

  it.each([
    [
      { pol: 'p' },
      /unknown parameter "pol"; expected one of pool, poolSelector, backend, encrypted, csi.storage.k8s.io\/fstype/,
    ],
    [{ backend: 'zfs' }, /StorageClass fast: unknown backend "zfs"/],
    [{ poolSelector: 'media=' + 'é' }, /StorageClass fast: poolSelector: invalid label selector "media=é"/],
    [{ fstype: 'ext3' }, /unknown file system "ext3"/],
    [{ fstype: 'xfs', 'csi.storage.k8s.io/fstype': 'xfs' }, /keep the first/],
    [{ encrypted: 'yes', ...secret }, /StorageClass fast: encrypted is "yes"/],
    [{ encrypted: 'true' }, /requires a Secret with the passphrase.*node-stage-secret-name/],
  ] as readonly (readonly [Record<string, string>, RegExp])[])('are refused: %j', (parameters, words) => {
    expect(() => parse(parameters)).toThrow(words);
  });
});
