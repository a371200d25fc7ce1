import { expect, test } from 'vitest';
import {
  startControllerOnFakes,
  type ControllerOnFakes,
  SPACE,
} from '../../../test/fakes/controller-on-fakes.ts';
import { PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES } from '../../kube/built-in.ts';

async function ask(lab: ControllerOnFakes, size: string): Promise<void> {
  const merge = { spec: { resources: { requests: { storage: size } } } };
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' }, { merge });
  await lab.settle();
}

test('a claim grows: said first, asked of the node, published, finished', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await ask(lab, '4Gi');
  expect((await lab.volume(name)).spec.size).toBe('4Gi');
  expect((await lab.claim('data')).status).toMatchObject({
    capacity: { storage: '2Gi' },
    allocatedResources: { storage: '4Gi' },
    allocatedResourceStatuses: { storage: 'ControllerResizeInProgress' },
    conditions: [{ type: 'Resizing', status: 'True' }],
  });
  await lab.answer(name, { phase: 'Ready', capacity: '4Gi', volumeHandle: 'vol-data' });
  expect((await lab.client.get(PERSISTENT_VOLUMES, { name })).spec?.capacity).toEqual({ storage: '4Gi' });
  const { status } = await lab.claim('data');
  expect(status).toMatchObject({
    capacity: { storage: '4Gi' },
    allocatedResourceStatuses: {},
    conditions: [],
  });
  expect(lab.events.at(-1)).toBe(
    'PersistentVolumeClaim data VolumeResizeSuccessful: expanded the volume to 4 GiB',
  );
  const before = lab.client.calls.length;
  await lab.settle(60_000);
  expect(lab.client.calls.slice(before).filter((call) => call.startsWith('patch'))).toEqual([]);
});

test('the file system is kubelet’s to grow where the node says so', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await ask(lab, '4Gi');
  const made = { phase: 'Ready', capacity: '4Gi', volumeHandle: 'vol-data' } as const;
  const condition = {
    status: 'True',
    reason: 'FilesystemSmaller',
    message: '',
    lastTransitionTime: '',
  } as const;
  await lab.answer(name, { ...made, conditions: [{ type: 'NodeExpansionRequired', ...condition }] });
  expect((await lab.claim('data')).status).toMatchObject({
    capacity: { storage: '2Gi' },
    allocatedResourceStatuses: { storage: 'NodeResizePending' },
    conditions: [{ type: 'FileSystemResizePending' }],
  });
  const { metadata } = await lab.client.get(PERSISTENT_VOLUMES, { name });
  expect(metadata?.annotations).toHaveProperty(['volume.alpha.kubernetes.io/pre-resize-capacity'], '2Gi');
  await lab.answer(name, { ...made, conditions: [] });
  expect((await lab.claim('data')).status?.capacity).toEqual({ storage: '4Gi' });
});

test('a claim whose pool is full gets the reason, and may request less', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await ask(lab, '40Gi');
  const { metadata } = await lab.volume(name);
  await lab.answer(name, {
    conditions: [
      {
        type: 'Sized',
        status: 'False',
        observedGeneration: metadata?.generation,
        reason: 'Exhausted',
        message: 'pool default has 8 GiB free',
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ],
  });
  expect((await lab.claim('data')).status?.conditions?.map(({ type }) => type)).toEqual([
    'Resizing',
    'ControllerResizeError',
  ]);
  expect(lab.events.at(-1)).toContain(
    'VolumeResizeFailed: cannot expand the volume to 40 GiB: pool default has',
  );
  await ask(lab, '3Gi');
  expect((await lab.volume(name)).spec.size).toBe('3Gi');
  expect((await lab.claim('data')).status?.allocatedResources).toEqual({ storage: '3Gi' });
});

test('a claim does not grow a volume that is bound to another one', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  const merge = { spec: { claimRef: { uid: 'another' } } };
  await lab.client.patch(PERSISTENT_VOLUMES, { name }, { merge });
  await ask(lab, '4Gi');
  expect((await lab.volume(name)).spec.size).toBe('2Gi');
});
