import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import { type ClaimsLab, claimOf, podOf, startClaimsLab } from './claims-lab.ts';

/** VolumeAttributesClasses on a real Kubernetes: what a claim names is in force in its pod. */
describe.each(['shipped', 'processes'] as const)(
  'a VolumeAttributesClass, with Keelson as %s',
  { timeout: 300_000 },
  (keelson) => {
    let lab: ClaimsLab;

    beforeAll(async () => {
      lab = await startClaimsLab({ poolSize: '2Gi', keelson });
      await lab.apply(
        attributesClass('slow', { writeBandwidth: '2Mi' }),
        attributesClass('open', { writeBandwidth: 'max' }),
        attributesClass('typo', { iops: '100' }),
      );
    }, 900_000);

    afterAll(async () => {
      await lab?.[Symbol.asyncDispose]();
    }, 120_000);

    test('is applied from the start, changes under a running pod, and is removed', async () => {
      await lab.apply(deviceClaim('fast', undefined), deviceClaim('bounded', 'slow'));
      await lab.apply(devicePod('writer', ['fast', 'bounded']));
      await lab.untilReady('writer');
      const { claim, volume } = await lab.untilBound('bounded');
      expect(claim.status?.currentVolumeAttributesClassName).toBe('slow');
      expect((await lab.owner(claim.spec?.volumeName ?? '')).spec?.volumeAttributesClassName).toBe('slow');
      expect(volume.status?.mutableParameters).toEqual({ writeBandwidth: String(2 * 2 ** 20) });
      // A new container is reached within about a second where cgroups are of version 1.
      await lab.eventually('the limit is in force in the pod', async () => {
        expect(await secondsOfWriting('/dev/v1')).toBeGreaterThan(3);
      });

      await name('fast', 'slow');
      await lab.eventually('the claim has its class', async () => {
        const { status } = await lab.claim('fast');
        expect(status?.currentVolumeAttributesClassName).toBe('slow');
        expect(status?.modifyVolumeStatus).toBeUndefined();
      });
      expect(await lab.events('fast')).toContain(
        'VolumeModifySuccessful: applied VolumeAttributesClass slow',
      );
      expect(await secondsOfWriting('/dev/v0')).toBeGreaterThan(3);

      await name('fast', 'open');
      await lab.eventually('the limit is lifted', async () => {
        const { claim: lifted, volume: free } = await lab.untilBound('fast');
        expect(lifted.status?.currentVolumeAttributesClassName).toBe('open');
        expect(free.status?.mutableParameters).toBeUndefined();
      });
      await lab.remove('pod/writer', 'pvc/fast', 'pvc/bounded');
      await lab.expectNothingLeft();
    });

    test('that cannot be applied is infeasible, with its reason, until the claim names another', async () => {
      await lab.apply(claimOf('files'), podOf('reader', ['files']));
      await lab.untilReady('reader');
      await name('files', 'typo');
      await infeasible('typo', '"iops" is unknown; expected readIOPS, writeIOPS');
      await name('files', 'slow');
      await infeasible('slow', 'does not support writeBandwidth of a Filesystem volume; I/O limits need');
      await name('files', 'open');
      await lab.eventually('the claim has a class that it can have', async () => {
        const { status } = await lab.claim('files');
        expect(status?.currentVolumeAttributesClassName).toBe('open');
        expect(status?.conditions ?? []).toEqual([]);
      });
      await lab.remove('pod/reader', 'pvc/files');
      await lab.expectNothingLeft();
    });

    const name = (claim: string, volumeAttributesClassName: string): Promise<string> =>
      lab.kubectl.run([
        'patch',
        'pvc',
        claim,
        `--patch=${JSON.stringify({ spec: { volumeAttributesClassName } })}`,
      ]);

    const infeasible = (target: string, reason: string): Promise<void> =>
      lab.eventually(`the claim says why ${target} cannot be`, async () => {
        const { status } = await lab.claim('files');
        expect(status?.modifyVolumeStatus).toEqual({
          status: 'Infeasible',
          targetVolumeAttributesClassName: target,
        });
        const error = status?.conditions?.find(({ type }) => type === 'ModifyVolumeError');
        expect(error?.message).toContain(reason);
        expect(await lab.events('files')).toContain(reason);
      });

    /** How long 16 MiB take, as the pod measures it. */
    async function secondsOfWriting(device: string): Promise<number> {
      const write = `dd if=/dev/zero of=${device} bs=1M count=16 conv=fsync 2>/dev/null`;
      const said = await lab.inPod(
        'writer',
        `a=$(cut -d' ' -f1 /proc/uptime); ${write}; b=$(cut -d' ' -f1 /proc/uptime); echo $a $b`,
      );
      const [from = 0, to = 0] = said.trim().split(' ').map(Number);
      return to - from;
    }
  },
);

function attributesClass(name: string, parameters: Readonly<Record<string, string>>): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'VolumeAttributesClass',
    metadata: { name },
    driverName: DRIVER_NAME,
    parameters,
  };
}

function deviceClaim(name: string, volumeAttributesClassName: string | undefined): object {
  return claimOf(name, '64Mi', {
    volumeMode: 'Block',
    ...(volumeAttributesClassName === undefined ? {} : { volumeAttributesClassName }),
  });
}

/** A pod that sees its claims as `/dev/v0`, `/dev/v1`, ... */
function devicePod(name: string, claims: readonly string[]): object {
  return podOf(name, claims, {
    containers: [
      {
        name: 'main',
        image: BUSYBOX_IMAGE,
        command: ['sleep', '100000'],
        volumeDevices: claims.map((_, index) => ({ name: `v${index}`, devicePath: `/dev/v${index}` })),
      },
    ],
  });
}
