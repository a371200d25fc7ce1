import { expect, test } from 'vitest';
import {
  type ControllerOnFakes,
  SPACE,
  startControllerOnFakes,
} from '../../../test/fakes/controller-on-fakes.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import {
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  VOLUME_ATTRIBUTES_CLASSES,
} from '../../kube/built-in.ts';

async function addClass(lab: ControllerOnFakes, name: string, parameters: Record<string, string>) {
  await lab.client.create(VOLUME_ATTRIBUTES_CLASSES, {
    metadata: { name },
    driverName: DRIVER_NAME,
    parameters,
  });
  await lab.settle();
}

async function poolRequest(lab: ControllerOnFakes, className: string | null): Promise<void> {
  const merge = { spec: { volumeAttributesClassName: className } };
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' }, { merge });
  await lab.settle();
}

/** As the agent says whether the attributes are in force. */
async function answerModified(
  lab: ControllerOnFakes,
  name: string,
  refusal?: { reason: string; message: string },
) {
  const { metadata, status } = await lab.volume(name);
  await lab.answer(name, {
    ...status,
    conditions: [
      {
        type: 'Modified',
        status: refusal === undefined ? 'True' : 'False',
        observedGeneration: metadata?.generation,
        reason: refusal?.reason ?? 'AsRequested',
        message: refusal?.message ?? '',
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ],
  });
}

test('a bound claim changes its class: said, asked of the node, published, finished', async () => {
  await using lab = await startControllerOnFakes();
  await addClass(lab, 'silver', { writeIOPS: '500', readIOPS: '500' });
  await addClass(lab, 'gold', { writeIOPS: '5k' });
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await poolRequest(lab, 'silver');
  expect((await lab.volume(name)).spec).toMatchObject({
    attributesClassName: 'silver',
    mutableParameters: { writeIOPS: '500', readIOPS: '500' },
  });
  expect((await lab.claim('data')).status).toMatchObject({
    modifyVolumeStatus: { status: 'InProgress', targetVolumeAttributesClassName: 'silver' },
    conditions: [{ type: 'ModifyingVolume', status: 'True' }],
  });
  await answerModified(lab, name);
  const { spec } = await lab.client.get(PERSISTENT_VOLUMES, { name });
  expect(spec?.volumeAttributesClassName).toBe('silver');
  const { status } = await lab.claim('data');
  expect(status).toMatchObject({ currentVolumeAttributesClassName: 'silver', conditions: [] });
  expect(status).not.toHaveProperty('modifyVolumeStatus');
  expect(lab.events.filter((event) => event.includes('VolumeModify'))).toEqual([
    'PersistentVolumeClaim data VolumeModify: applying VolumeAttributesClass silver',
    'PersistentVolumeClaim data VolumeModifySuccessful: applied VolumeAttributesClass silver',
  ]);

  await poolRequest(lab, 'gold');
  expect((await lab.volume(name)).spec.mutableParameters).toEqual({ writeIOPS: '5k' });
  await answerModified(lab, name);
  expect((await lab.claim('data')).status?.currentVolumeAttributesClassName).toBe('gold');
  const before = lab.client.calls.length;
  await lab.settle(60_000);
  expect(lab.client.calls.slice(before).filter((call) => call.startsWith('patch'))).toEqual([]);
});

test('a class that cannot be is infeasible with its reason, and naming another one recovers', async () => {
  await using lab = await startControllerOnFakes();
  await addClass(lab, 'wrong', { iops: '500' });
  await addClass(lab, 'gold', { writeIOPS: '5k' });
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await poolRequest(lab, 'wrong');
  expect((await lab.volume(name)).spec).not.toHaveProperty('attributesClassName');
  const message =
    'VolumeAttributesClass wrong: "iops" is unknown; expected readIOPS, writeIOPS, readBandwidth, writeBandwidth, quotaInodes';
  expect((await lab.claim('data')).status).toMatchObject({
    modifyVolumeStatus: { status: 'Infeasible', targetVolumeAttributesClassName: 'wrong' },
    conditions: [
      { type: 'ModifyingVolume' },
      { type: 'ModifyVolumeError', reason: 'InvalidArgument', message },
    ],
  });
  expect(lab.events.at(-1)).toBe(`PersistentVolumeClaim data VolumeModifyFailed: ${message}`);

  await poolRequest(lab, 'gold');
  await answerModified(lab, name, { reason: 'Invalid', message: 'pool default (btrfs) cannot' });
  expect((await lab.claim('data')).status?.modifyVolumeStatus).toEqual({
    status: 'Infeasible',
    targetVolumeAttributesClassName: 'gold',
  });
  // Before the first success the request may be withdrawn.
  await poolRequest(lab, null);
  expect((await lab.volume(name)).spec).not.toHaveProperty('mutableParameters');
  expect((await lab.claim('data')).status?.conditions).toEqual([]);
  expect(lab.events.at(-1)).toContain('VolumeModifyCanceled');
});

test('a class that comes later is waited for', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await poolRequest(lab, 'gold');
  expect((await lab.claim('data')).status).toMatchObject({
    modifyVolumeStatus: { status: 'Pending', targetVolumeAttributesClassName: 'gold' },
  });
  expect(lab.events.at(-1)).toContain('VolumeModifyFailed: VolumeAttributesClass gold does not exist');
  await addClass(lab, 'gold', { writeIOPS: '5k' });
  expect((await lab.volume(name)).spec.attributesClassName).toBe('gold');
});

test('a new claim has its class from the start, and waits for one that is missing', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const spec = {
    accessModes: ['ReadWriteOnce'],
    storageClassName: 'at-once',
    volumeAttributesClassName: 'gold',
    resources: { requests: { storage: '1Gi' } },
  };
  const name = await lab.addClaim('fresh', { spec });
  expect(lab.events.at(-1)).toContain('ProvisioningFailed: VolumeAttributesClass gold does not exist');
  await addClass(lab, 'gold', { writeIOPS: '5k' });
  expect((await lab.volume(name)).spec).toMatchObject({
    attributesClassName: 'gold',
    mutableParameters: { writeIOPS: '5k' },
  });
  await lab.answer(name, { phase: 'Ready', capacity: '1Gi', volumeHandle: 'vol-fresh' });
  const owner = await lab.client.get(PERSISTENT_VOLUMES, { name });
  expect(owner.spec?.volumeAttributesClassName).toBe('gold');
});
