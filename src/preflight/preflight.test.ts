import { describe, expect, test } from 'vitest';
import {
  describeMissing,
  evaluatePreflight,
  type MachineFacts,
  program,
  type Requirements,
} from './preflight.ts';

const good: MachineFacts = {
  isRoot: true,
  nodeVersion: 'v24.21.0',
  filesystems: ['ext4', 'btrfs', 'overlay'],
  loopDevices: { works: true },
  veth: { works: true },
  nftables: { works: true },
  cgroups: { works: true },
  programs: { nft: '/usr/sbin/nft' },
  dataDir: '/var/tmp',
  freeBytes: 8n * 2n ** 30n,
};
const requirements: Requirements = {
  freeBytes: 3n * 2n ** 30n,
  programs: [program('nft', 'loads rules', 'nftables')],
  filesystems: ['btrfs', 'overlay'],
};
const missing = (facts: Partial<MachineFacts>): string[] =>
  evaluatePreflight({ ...good, ...facts }, requirements)
    .filter(({ ok }) => !ok)
    .map(({ check }) => check);

describe('evaluatePreflight', () => {
  test('a machine that has everything misses nothing', () => {
    expect(missing({})).toEqual([]);
  });

  test.each<[string, Partial<MachineFacts>, string]>([
    ['another user', { isRoot: false }, 'user'],
    ['an old Node', { nodeVersion: 'v20.20.2' }, 'Node'],
    ['a kernel without btrfs', { filesystems: ['overlay'] }, 'btrfs in the kernel'],
    ['no loop devices', { loopDevices: { works: false, reason: 'EPERM' } }, 'loop devices'],
    ['no veth', { veth: { works: false, reason: 'Not supported' } }, 'veth pairs'],
    ['no nftables', { nftables: { works: false, reason: 'Not supported' } }, 'nftables'],
    ['read-only cgroups', { cgroups: { works: false, reason: 'read-only' } }, 'cgroups'],
    ['a missing program', { programs: {} }, 'program nft'],
    ['a full disk', { freeBytes: 3n * 2n ** 30n - 1n }, 'free disk space'],
  ])('%s is the one thing reported', (_, facts, check) => {
    expect(missing(facts)).toEqual([check]);
  });

  test('everything that is missing is reported at once', () => {
    expect(missing({ isRoot: false, filesystems: [], programs: {} })).toEqual([
      'user',
      'btrfs in the kernel',
      'overlay in the kernel',
      'program nft',
    ]);
  });
});

test('what another user cannot try is not held against the machine', () => {
  const no = { works: false, reason: 'EPERM' } as const;
  expect(missing({ isRoot: false, loopDevices: no, veth: no, nftables: no, cgroups: no })).toEqual(['user']);
});

test('each missing thing says what, why and what to do', () => {
  const text = describeMissing(evaluatePreflight({ ...good, programs: {} }, requirements));
  expect(text).toBe('  program nft: not found\n    why: loads rules\n    do:  apt-get install nftables\n');
});
