import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommand } from '../../../src/runtime/child-process.ts';
import type { Form } from '../../crash/scene.ts';
import { readSource } from '../../crash/source.ts';
import { type Choice, type Coverage, isWithin, Story } from '../../crash/story.ts';
import { unmountBelow } from '../../crash/unmount.ts';
import { requireRoot } from './storage-lab.ts';

/**
 * `KEELSON_CHAOS=full` kills at every effect and every named crash window of the code, with every
 * form, in ten minutes; `all` at every single effect of every operation, in hours. By default a
 * random selection is killed with each form.
 */
const CHAOS = process.env['KEELSON_CHAOS'];
const FULL = CHAOS === 'full' || CHAOS === 'all';
const SEED = Number(process.env['KEELSON_SEED'] ?? Date.now() % 1_000_000);
const CHOICE: Choice = CHAOS === 'all' ? 'all' : FULL ? 'new' : { most: 3, seed: SEED + 1 };

interface StoryForm {
  readonly form: Form;
  /** Absent: all operations of the form. */
  readonly only?: readonly string[];
}

const FORMS: Readonly<Record<string, StoryForm>> = {
  btrfs: { form: { backend: 'btrfs', volumeMode: 'Filesystem' } },
  'btrfs, devices': { form: { backend: 'btrfs', volumeMode: 'Block' } },
  'btrfs that others use': {
    form: { backend: 'btrfs', volumeMode: 'Filesystem', isShared: true },
    only: ['delete a volume', 'take a group snapshot', 'remove what was deleted'],
  },
  'btrfs, classic quotas': {
    form: { backend: 'btrfs', volumeMode: 'Filesystem', quota: 'classic' },
    only: ['create a volume', 'take a snapshot', 'open another pool'],
  },
  image: { form: { backend: 'image', volumeMode: 'Filesystem' } },
  'image, devices': { form: { backend: 'image', volumeMode: 'Block' } },
  'image, encrypted': { form: { backend: 'image', volumeMode: 'Filesystem', encrypted: true } },
  'image on a file system that shares nothing': {
    form: { backend: 'image', volumeMode: 'Filesystem', isShared: true },
    only: ['take a snapshot', 'clone a volume in use', 'take a group snapshot'],
  },
  directory: { form: { backend: 'directory', volumeMode: 'Filesystem' } },
};

const { sites, windows } = readSource();
const coverage: Coverage = { passed: new Set(), killed: new Set(), planned: new Set(), windows };
/** Places with a kill; by default, places that were passed. */
const reached = FULL ? coverage.killed : coverage.passed;

describe.concurrent('a storage service that is killed repeatedly', () => {
  it.for(Object.entries(FORMS))(
    '%s: completes interrupted operations, leaks nothing and loses nothing',
    { timeout: 3_600_000 },
    async ([, { form, only }], context) => {
      requireRoot(context);
      console.log(`KEELSON_SEED=${SEED} repeats this`);
      await using cleanup = new AsyncDisposableStack();
      const directory = await mkdtemp(join(tmpdir(), 'keelson-crash-'));
      cleanup.defer(() => rm(directory, { recursive: true, force: true }));
      cleanup.defer(() => unmountBelow(directory));
      if (form.isShared === true) await shareFilesystem(join(directory, 'shared'), form);
      // Each form starts without covered places: another backend differs after the same call.
      const own = { ...coverage, planned: new Set<string>() };
      const survived: string[] = [];
      const onSurvival = (moment: string): unknown => survived.push(moment);
      const story = new Story({ directory, form, only, choice: CHOICE, onSurvival }, own);
      const kills = await story.run();
      console.log([`${kills} killed, ${survived.length} survived`, ...survived].join('\n  '));
      expect(kills).toBeGreaterThan(0);
    },
  );
});

const PROJECTS =
  'needs project quota, which this kernel may lack: the power of an emulated machine is cut there';

const EMPTIED = 'comes when the file system has emptied the groups: stories wait for it at their end';

/** Effects without a kill here, by title, with the reason. */
const COVERED_ELSEWHERE: Readonly<Record<string, string>> = {
  'directory-backend.ts setLimit setProject': PROJECTS,
  'directory-backend.ts setLimit setProjectLimits': PROJECTS,
  'directory-backend.ts #claimProject setProject': PROJECTS,
  'directory-backend.ts #release setProjectLimits': PROJECTS,
  'btrfs-backend.ts #removeEmptyQgroups removeQgroup': EMPTIED,
  'btrfs-backend.ts #removeEmptyQgroups unlink': EMPTIED,
  'image-backend.ts #withUnfinished rm': 'after a failure',
  'record-store.ts openRecordStore mkdir': 'once, before there is anything to lose',
  'record-store.ts openRecordStore rm':
    'after a kill in the middle of a write, at which chance does not always choose',
  'quota-check.ts check startQuotaRescan': 'one call, where the kernel says that it lost count',
  'target-mounts.ts mount umount': 'where an administrator has mounted the volume in another way',
  'image-mounts.ts #mountFile thawFilesystem':
    'where the volume is mounted in a mount namespace that outlived its agent',
  'image-mounts.ts #requireUnlabelled umount': 'the same, for a btrfs with an SELinux context',
};

describe('the code of the storage service', () => {
  it('has no effect that no operation of these tests reaches', (context) => {
    requireRoot(context);
    const missed = sites.filter(({ place }) => !reached.has(place)).map(({ title }) => title);
    expect(missed.filter((title) => !(title in COVERED_ELSEWHERE))).toEqual([]);
    // An effect that is not in the code any more needs no reason.
    const known = new Set(sites.map(({ title }) => title));
    expect(Object.keys(COVERED_ELSEWHERE).filter((title) => !known.has(title))).toEqual([]);
  });

  it('names no crash window that no operation of these tests passes', (context) => {
    requireRoot(context);
    for (const window of windows) {
      const inside = [...reached].filter((place) => isWithin(place, window));
      expect(inside.length, `${window.place} ${window.text}`).toBeGreaterThan(0);
    }
  });
});

/** Mounts a shared file system; for images one that cannot share data between files. */
async function shareFilesystem(place: string, { backend }: Form): Promise<void> {
  await mkdir(place);
  await runCommand('truncate', ['--size', String(2n << 30n), `${place}.img`]);
  const mkfs = backend === 'btrfs' ? ['mkfs.btrfs', '-q'] : ['mkfs.ext4', '-q', '-F'];
  const [program = '', ...options] = mkfs;
  await runCommand(program, [...options, `${place}.img`]);
  await runCommand('mount', ['--options', 'loop', `${place}.img`, place]);
  await mkdir(join(place, 'pool'));
}
