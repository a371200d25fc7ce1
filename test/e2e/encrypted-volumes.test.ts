import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PASSPHRASE_FIELD } from '../../src/core/volumes/encryption.ts';
import { claimOf, type ClaimsLab, classOf, podOf, startClaimsLab } from './claims-lab.ts';

const PASSPHRASE = 'a passphrase of the e2e tests';
const PLAINTEXT = 'plaintext-that-is-encrypted';
const CONTROL = 'plaintext-of-the-control';

/** A class with its Secret, as users have them. Each test goes on from the one before. */
describe('claims of an encrypted class', { timeout: 240_000 }, () => {
  let lab: ClaimsLab;

  beforeAll(async () => {
    lab = await startClaimsLab({ poolSize: '1Gi' });
    const source = { file: '/var/lib/keelson/images.img', fileSize: '1Gi' };
    const volumeBindingMode = 'WaitForFirstConsumer';
    await lab.apply(
      {
        apiVersion: 'keelson.dev/v1alpha1',
        kind: 'StoragePool',
        metadata: { name: 'images' },
        spec: { backend: 'image', source },
      },
      classOf('plain-images', { volumeBindingMode, parameters: { backend: 'image' } }),
      classOf('encrypted', {
        volumeBindingMode,
        parameters: {
          encrypted: 'true',
          'csi.storage.k8s.io/node-stage-secret-name': '${pvc.name}-key',
          'csi.storage.k8s.io/node-stage-secret-namespace': '${pvc.namespace}',
        },
      }),
    );
    await lab.kubectl.wait('storagepool/images', 'condition=Ready', { timeoutMs: 60_000 });
  }, 900_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 120_000);

  const inPool = async (node: string, text: string): Promise<boolean> => {
    const { machine } = await lab.cluster.node(node);
    await machine.run('sync', ['--file-system', '/var/lib/keelson/pools/images']);
    const { stdout } = await machine.run('sh', [
      '-c',
      `grep -c '${text}' /var/lib/keelson/images.img || true`,
    ]);
    return stdout.trim() !== '0';
  };

  test('wait for their Secret, which an event names', async () => {
    await lab.apply(claimOf('data', '64Mi', { storageClassName: 'encrypted' }), podOf('user', ['data']));
    await lab.untilBound('data');
    await lab.eventually('the pod says what it lacks', async () => {
      expect(await lab.events('user')).toContain('data-key');
    });
    await lab.apply(secretOf('data-key', { [PASSPHRASE_FIELD]: 'too short' }));
    await lab.eventually(
      'the pod says what is wrong',
      async () => {
        expect(await lab.events('user')).toContain('encryptionPassphrase in its Secret is shorter than 16');
      },
      150_000,
    );
    expect(await lab.events('user')).not.toContain('too short');
  });

  test('are mounted once it exists, with no plaintext on the disk', async () => {
    await lab.remove('pod/user');
    await lab.kubectl.wait('pod/user', 'delete');
    await lab.apply(
      secretOf('data-key', { [PASSPHRASE_FIELD]: PASSPHRASE }),
      podOf('user', ['data']),
      claimOf('control', '64Mi', { storageClassName: 'plain-images' }),
      podOf('control', ['control']),
    );
    const { spec } = await lab.untilReady('user');
    await lab.inPod('user', `echo ${PLAINTEXT} >/data/file; sync`);
    const control = await lab.untilReady('control');
    await lab.inPod('control', `echo ${CONTROL} >/data/file; sync`);
    expect(await inPool(control.spec?.nodeName ?? '', CONTROL)).toBe(true);
    expect(await inPool(spec?.nodeName ?? '', PLAINTEXT)).toBe(false);
  });

  test('are mounted again after a reboot of their node', async () => {
    const node = (await lab.untilReady('user')).spec?.nodeName ?? '';
    await lab.cluster.stopNode(node);
    await lab.cluster.startNode(node);
    await lab.eventually(
      'the pod reads its data',
      async () => {
        expect(await lab.inPod('user', 'cat /data/file')).toBe(`${PLAINTEXT}\n`);
      },
      120_000,
    );
    await lab.remove('pod/user', 'pod/control', 'pvc/data', 'pvc/control');
    await lab.expectNothingLeft();
  });
});

function secretOf(name: string, stringData: Readonly<Record<string, string>>): object {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData };
}
