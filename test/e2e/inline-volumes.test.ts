import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DRIVER_NAME } from '../../src/core/driver.ts';
import { restartKubelet } from '../cluster/faults.ts';
import { type ClaimsLab, podOf, startClaimsLab } from './claims-lab.ts';

/** Volumes that pods write into their own spec, with a real kubelet. */
describe('a volume in the spec of a pod', { timeout: 240_000 }, () => {
  let lab: ClaimsLab;

  beforeAll(async () => {
    lab = await startClaimsLab({ poolSize: '2Gi' });
  }, 900_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 120_000);

  test('lives as long as the pod, with its size, through a restart of kubelet', async () => {
    await lab.apply(podWith('scratch', { size: '64Mi' }));
    const { spec } = await lab.untilReady('scratch');
    const node = spec?.nodeName ?? '';
    expect(await lab.onDisk(node)).toEqual([expect.stringMatching(/^csi-[0-9a-f]{64}$/)]);
    await lab.inPod('scratch', 'echo kept >/data/file; sync');
    const fill = 'dd if=/dev/urandom of=/data/big bs=1M count=100 2>&1; sync';
    expect(await lab.inPod('scratch', `${fill} || true`)).toMatch(/quota|space/i);

    await restartKubelet(lab.cluster, node);
    await lab.untilReady('scratch');
    expect(await lab.inPod('scratch', 'cat /data/file')).toBe('kept\n');

    await lab.remove('pod/scratch');
    await lab.expectNothingLeft();
  });

  test('with an attribute that means nothing keeps its pod from starting, and says which', async () => {
    await lab.apply(podWith('typo', { sise: '64Mi' }));
    await lab.eventually('the pod says why', async () => {
      expect(await lab.events('typo')).toContain(
        '"sise" is unknown; possible are pool, backend, encrypted, size',
      );
    });
    await lab.remove('pod/typo');
    await lab.expectNothingLeft();
  });
});

function podWith(name: string, volumeAttributes: Readonly<Record<string, string>>): object {
  return podOf(name, ['inline'], {
    volumes: [{ name: 'v0', csi: { driver: DRIVER_NAME, volumeAttributes } }],
  });
}
