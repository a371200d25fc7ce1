import { expect, test } from 'vitest';
import { resultsPage } from './page.ts';
import { driverDefinition, PLACEMENTS, profileObjects, PROFILES } from './profiles.ts';
import { askedResults, countResults, mergeResults, parseResults, uniteResults } from './results.ts';
import { selectTests } from './selection.ts';

const EXTERNAL = '[sig-storage] External Storage [Driver: keelson.dev]';
const spec = (over: object): object => ({
  ContainerHierarchyTexts: [EXTERNAL, '[Testpattern: Dynamic PV (default fs)] provisioning'],
  LeafNodeType: 'It',
  LeafNodeText: 'should provision storage',
  State: 'passed',
  RunTime: 2_500_000_000,
  ...over,
});
const parse = (...specs: readonly object[]): ReturnType<typeof parseResults> =>
  parseResults(JSON.stringify([{ SpecReports: specs }]));

test('a report has the suite, the kind of volume and the result of each storage test', () => {
  expect(
    parse(spec({}), spec({ ContainerHierarchyTexts: ['[sig-network] Services'], State: 'skipped' })),
  ).toEqual([
    {
      suite: 'provisioning',
      pattern: 'Dynamic PV (default fs)',
      name: 'should provision storage',
      state: 'passed',
      message: '',
      seconds: 2.5,
    },
  ]);
});

test('a container between the suite and the test is part of its name, and the tags of the suite are', () => {
  const [result] = parse(
    spec({
      ContainerHierarchyTexts: [
        EXTERNAL,
        '[Testpattern: Dynamic Snapshot (delete policy)] snapshottable [Feature:VolumeSnapshotDataSource]',
        'volume snapshot controller',
      ],
    }),
  );
  expect(result).toMatchObject({
    suite: 'snapshottable',
    name: 'volume snapshot controller should provision storage [Feature:VolumeSnapshotDataSource]',
  });
});

test('a suite is called by its name, not by its tags', () => {
  const text = '[Testpattern: Dynamic PV (xfs)] [Slow] multiVolume [Slow]';
  expect(parse(spec({ ContainerHierarchyTexts: [EXTERNAL, text] }))).toMatchObject([
    { suite: 'multiVolume', pattern: 'Dynamic PV (xfs)', name: 'should provision storage [Slow] [Slow]' },
  ]);
});

test('an entry that is neither passed nor skipped has failed, also one that is not a test', () => {
  const results = parse(
    spec({ State: 'skipped', Failure: { Message: 'Driver has no X' } }),
    spec({ State: 'timedout' }),
    spec({ State: 'panicked' }),
    spec({ LeafNodeType: 'SynchronizedBeforeSuite', LeafNodeText: '', State: 'failed' }),
    spec({ LeafNodeType: 'SynchronizedAfterSuite', LeafNodeText: '' }),
  );
  expect(countResults(results)).toEqual({ passed: 0, failed: 3, skipped: 1 });
});

test('a test that was run again counts as it ended then, and the page says so', () => {
  const failed = spec({ State: 'failed', Failure: { Message: 'timed out' } });
  const other = spec({ LeafNodeText: 'should do more' });
  const later = parse(spec({}), { ...other, State: 'skipped' });
  const results = mergeResults(parse(failed, other), later);
  expect(countResults(results)).toEqual({ passed: 2, failed: 0, skipped: 0 });
  const page = resultsPage([{ title: 'image: xfs', results }], 'Run on a machine');
  expect(page).toMatch(/## Run again[^#]*should provision storage \| passed \|\n/);
  expect(page).not.toMatch(/## Run again[^#]*should do more/);
});

test('the page lists what failed and every reason for what did not run', () => {
  const results = parse(
    spec({}),
    spec({ State: 'failed', Failure: { Message: 'timed out\nat x.go' } }),
    spec({ State: 'skipped', Failure: { Message: 'No SSH Key for provider local' } }),
    spec({ State: 'skipped', LeafNodeText: 'should provision storage with any volume data source' }),
  );
  const page = resultsPage([{ title: 'image: ext4', results }], 'Run on a machine');
  expect(page).toContain('| provisioning | 1 / 1 / 2 |');
  expect(page).toContain(
    '| image: ext4 | provisioning | Dynamic PV (default fs) | should provision storage | timed out |',
  );
  expect(page).toMatch(/No SSH Key for provider local \| 1 \| stops kubelet/);
  expect(page).toMatch(/not asked \| 1 \| needs the images of two other projects/);
});

test.each(PROFILES)('profile $name names file systems that it really has, and the default one', (profile) => {
  expect(driverDefinition(profile, 'any-node')).toMatchObject({
    StorageClass: { FromExistingClassName: profile.storageClass },
    DriverInfo: { Name: 'keelson.dev', SupportedFsType: { '': {}, [profile.fileSystems[0] ?? '']: {} } },
  });
});

test.each(PLACEMENTS)('the classes that profiles name for %s are created', (placement) => {
  const made = profileObjects(PROFILES);
  for (const profile of PROFILES) {
    const { StorageClass, VolumeAttributesClass } = driverDefinition(profile, placement) as Record<
      string,
      { readonly FromExistingClassName: string }
    >;
    const name = StorageClass?.FromExistingClassName;
    expect(made).toContainEqual(expect.objectContaining({ kind: 'StorageClass', metadata: { name } }));
    expect(made).toContainEqual(
      expect.objectContaining({
        kind: 'VolumeAttributesClass',
        metadata: { name: VolumeAttributesClass?.FromExistingClassName },
      }),
    );
  }
});

test('runs of different tests are merged into one result per test', () => {
  const group = spec({ LeafNodeText: 'should take groups' });
  const skips = { State: 'skipped', Failure: { Message: 'Driver has no X' } };
  const one = parse(spec({}), { ...group, State: 'skipped' }, spec({ ...skips, LeafNodeText: 'other' }));
  const two = parse(
    spec({ State: 'skipped' }),
    { ...group, State: 'failed' },
    spec({ LeafNodeText: 'other', State: 'skipped' }),
  );
  expect(uniteResults([one, two]).map(({ name, state, message }) => [name, state, message])).toEqual([
    ['should provision storage', 'passed', ''],
    ['should take groups', 'failed', ''],
    ['other', 'skipped', 'Driver has no X'],
  ]);
});

test('a profile of which only some tests were run is marked as partial, and lists those', () => {
  const some = askedResults(parse(spec({}), spec({ State: 'skipped', LeafNodeText: 'not asked' })));
  const all = parse(spec({ ContainerHierarchyTexts: [EXTERNAL, '[Testpattern: Dynamic PV (xfs)] volumes'] }));
  const page = resultsPage(
    [
      { title: 'whole', results: all },
      { title: 'part', results: some, isPart: true },
    ],
    'Run on a machine',
  );
  expect(page).toContain('Only some tests were run of **part**: – is not run.');
  expect(page).toContain('| provisioning | – | 1 / 0 / 0 |');
});

const GROUP_NAME =
  '[sig-storage] External Storage [Driver: keelson.dev] [Testpattern:  (delete policy)] volumegroupsnapshottable [Feature:X] should take groups';
const OTHER_NAME = GROUP_NAME.replace('volumegroupsnapshottable', 'volume-expand');

test.each([
  ['all', undefined, [GROUP_NAME], [OTHER_NAME]],
  ['a part of a name of a suite', 'groupsnapshot', [GROUP_NAME], []],
  ['words after the suite', 'take groups', [GROUP_NAME], [OTHER_NAME]],
  ['words before the suite', 'delete policy', [GROUP_NAME], [OTHER_NAME]],
  ['another suite', 'volume-expand', [], [OTHER_NAME]],
])('a request for %s gets each test once, with its class', (_what, focus, ofGroups, others) => {
  const chosen = (placement: 'one-node' | 'any-node'): string[] => {
    const wanted = selectTests(placement, { focus });
    const isChosen = (name: string): boolean =>
      new RegExp(wanted.focus).test(name) && !new RegExp(wanted.skip).test(name);
    return [GROUP_NAME, OTHER_NAME].filter(isChosen);
  };
  expect(chosen('one-node')).toEqual(ofGroups);
  expect(chosen('any-node')).toEqual(others);
});
