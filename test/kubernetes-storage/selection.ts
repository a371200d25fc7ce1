/** Tests that are not even asked here, by a regular expression on their whole name. What is not here is asked, and skips itself with a reason. */
export const NOT_ASKED: readonly { readonly name: string; readonly why: string }[] = [
  { name: String.raw`\[Feature:Windows\]`, why: 'for Windows' },
  { name: String.raw`SELinux`, why: 'needs SELinux on the host, and its kernel has none' },
  {
    name: 'any volume data source',
    why: 'needs the images of two other projects, whose Go modules cannot be had',
  },
];

/** Why a test was not asked, for its whole name. */
export function whyNotAsked(name: string): string | undefined {
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
    why: 'statfs(2) on btrfs tells the size of the whole pool, whatever the quota of the subvolume: see storage.md',
  },
  { says: /snapshot metadata/, why: 'not there yet' },
  { says: /VolumeAttributesClass|volume modify stress/, why: 'not declared yet' },
  { says: /group snapshot/, why: 'not declared yet' },
];

/** Why a test skipped itself; empty for a message that nobody has explained yet. */
export function whySkipped(message: string): string {
  return REASONS.find(({ says }) => says.test(message))?.why ?? '';
}
