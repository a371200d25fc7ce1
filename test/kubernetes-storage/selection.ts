import type { Placement } from './profiles.ts';

/** Suites that are run with a class of their own. */
const SUITES: Readonly<Record<Exclude<Placement, 'any-node'>, readonly string[]>> = {
  'one-node': ['volumegroupsnapshottable', 'volumegroupsnapshotclass'],
  'at-once': ['volume-modify-stress', 'volume-lifecycle-performance', 'pvc-deletion-performance'],
};

/**
 * Tests that are not even asked here, by a regular expression on their whole name. What is not here
 * is asked, and skips itself with a reason.
 */
export const NOT_ASKED: readonly { readonly name: string; readonly why: string }[] = [
  { name: String.raw`\[Feature:Windows\]`, why: 'for Windows' },
  { name: String.raw`SELinux`, why: 'needs SELinux on the host, and its kernel has none' },
  {
    name: 'any volume data source',
    why: 'needs the images of two other projects, whose Go modules cannot be had',
  },
];

/** Why a test was not asked, for its whole name. */
export function whyNotSelected(name: string): string | undefined {
  return NOT_ASKED.find((entry) => new RegExp(entry.name).test(name))?.why;
}

/** Why a test that was asked does not run, for what it says itself. */
const REASONS: readonly { readonly says: RegExp; readonly why: string }[] = [
  {
    says: /"(PreprovisionedPV|InlineVolume)"/,
    why: 'the tests make such volumes only with drivers of their own',
  },
  {
    says: /doesn't support (ext3|ext4|xfs|ntfs|btrfs) /,
    why: 'each profile has one file system; ext3 does not exist here',
  },
  {
    says: /SSH Key/,
    why: 'stops kubelet by SSH and systemd, which nodes in namespaces do not have; `test/e2e` stops it in its own way',
  },
  { says: /RWX|only supports singleNodeVolume/, why: 'a volume is on one node' },
  {
    says: /ROX access mode|read only raw block/,
    why: 'ReadOnlyMany means pods on many nodes, and a volume is on one',
  },
  {
    says: /binding mode currently not supported|[Ii]mmediate/,
    why: 'for classes that bind at once, or for those that wait',
  },
  {
    says: /is (not )?ephemeral|Suite "volumeLimits"|CSIInlineVolume test for expansion/,
    why: 'another kind of volume has this test',
  },
  {
    says: /block mode|Block volume|raw block volumes|block volume case/,
    why: 'another mode of volume has this test',
  },
  { says: /does not support snapshots/, why: 'the pattern has no kind of snapshot' },
  {
    says: /does not support filesystem resizing/,
    why: 'statfs(2) on btrfs reports the size of the whole pool, whatever the quota of the subvolume: see the limitations',
  },
  {
    says: /snapshot metadata/,
    why: 'the suite reads the namespace of a driver that it has installed itself, and panics with a driver that was installed before; `test/e2e/snapshot-metadata.test.ts` does the same with the same sidecar and its client library',
  },
];

/** Why a test skipped itself; empty for an unknown message. */
export function whySkipped(message: string): string {
  return REASONS.find(({ says }) => says.test(message))?.why ?? '';
}

/** The selection on the command line; nothing: all. */
export interface TestFilter {
  readonly focus?: string | undefined;
  readonly skip?: string | undefined;
}

/** ginkgo's regular expressions for the tests of one placement, as far as they are asked for. */
export function selectTests(
  placement: Placement,
  { focus, skip }: TestFilter,
): { focus: string; skip: string } {
  const skips = [...NOT_ASKED.map(({ name }) => name), skip ?? []].flat();
  if (placement === 'any-node') {
    const all = [...skips, ...Object.values(SUITES).flat()];
    return { focus: inStorage(focus === undefined ? '' : `(${focus})`), skip: all.join('|') };
  }
  const suites = SUITES[placement];
  const suite = `(${suites.join('|')})`;
  if (focus === undefined) return { focus: inStorage(suite), skip: skips.join('|') };
  // Both have to be there, in any order, and may be the same words. Go's expressions cannot look
  // ahead.
  const same = suites.filter((name) => new RegExp(focus).test(name));
  const either = [`(${focus}).*${suite}`, `${suite}.*(${focus})`, ...same];
  return { focus: inStorage(`(${either.join('|')})`), skip: skips.join('|') };
}

function inStorage(rest: string): string {
  return `External Storage.*${rest}`;
}
