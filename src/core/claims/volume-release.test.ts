import { expect, test } from 'vitest';
import { checkRelease, planAfterRelease, type ReleaseCandidate } from './volume-release.ts';

const owner = {
  persistentVolume: 'pvc-1',
  reclaimPolicy: 'Delete',
  claim: { namespace: 'team', name: 'data' },
  pods: ['web-0'],
};
const volume: ReleaseCandidate = {
  name: 'pvc-1',
  uid: 'u',
  type: 'Volume',
  sizeBytes: 1n,
  owners: [owner],
  snapshot: undefined,
  isReleased: false,
};
const CLAIM = 'kubectl delete pvc -n team data --wait=false';
const POD = 'kubectl delete pod -n team web-0 --force';
const OWNER = 'kubectl delete pv pvc-1 --wait=false';

test.each<[string, Partial<ReleaseCandidate>, readonly string[]]>([
  ['a claim goes before its pods', {}, [CLAIM, POD]],
  ['a claim that no pod uses', { owners: [{ ...owner, pods: [] }] }, [CLAIM]],
  [
    'a PersistentVolume that would stay goes too',
    { owners: [{ ...owner, reclaimPolicy: 'Retain' }] },
    [CLAIM, POD, OWNER],
  ],
  [
    'one that has stayed',
    { owners: [{ ...owner, reclaimPolicy: 'Retain', claim: undefined, pods: [] }] },
    [OWNER],
  ],
  ['one that is Released goes by itself', { owners: [{ ...owner, claim: undefined, pods: [] }] }, []],
  ['a volume without an owner is deleted automatically', { owners: [] }, []],
  [
    'a snapshot goes with its VolumeSnapshot',
    { type: 'Snapshot', owners: [], snapshot: { namespace: 'team', name: 'before' } },
    ['kubectl delete volumesnapshot -n team before --wait=false'],
  ],
])('%s', (_name, change, commands) => {
  expect(planAfterRelease({ ...volume, ...change })).toEqual(commands);
});

test('nothing of a Ready node is released', () => {
  const node = { name: 'n1', presence: 'ready' } as const;
  expect(() => {
    checkRelease({ kind: 'node', name: 'n1' }, node);
  }).toThrow('node n1 is Ready and serves its volumes');
  expect(() => {
    checkRelease({ kind: 'volume', name: 'pvc-1' }, node);
  }).toThrow('serves volume pvc-1');
  for (const presence of ['unresponsive', 'deleted'] as const) {
    checkRelease({ kind: 'node', name: 'n1' }, { ...node, presence });
  }
});
