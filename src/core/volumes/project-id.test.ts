import { describe, expect, it } from 'vitest';
import { isVolumeProject, parseProjectFiles, pickProject, PROJECT_IDS } from './project-id.ts';

const { first, count } = PROJECT_IDS;

describe('project ids', () => {
  it("are far from kubelet's, which begin at 1048577, and fit the 32 bits of the kernel", () => {
    expect(first).toBeGreaterThan(2 ** 29);
    expect(first + count).toBeLessThan(2 ** 32 - 1);
    expect([first - 1, first, first + count - 1, first + count].map(isVolumeProject)).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it.each([
    ['the one that the number stands for', 7, [], first + 7],
    ['the next one when that is taken', 7, [first + 7, first + 8], first + 9],
    ['the first one after the last', count - 1, [first + count - 1], first],
    ['one of the range for any number', 0xffff_ffff, [], first + (0xffff_ffff % count)],
  ])('are %s', (_, random, taken, expected) => {
    expect(pickProject(random, new Set(taken))).toBe(expected);
  });

  it("avoid the ids in the host's project files", () => {
    const projects = '# comment\n1048577:/var/lib/kubelet/a\n 42 : /srv\nnonsense\n\n';
    const projid = 'volume1048578:1048578\n#old:9\nbroken\n';
    expect([...parseProjectFiles(projects, projid)].sort((a, b) => a - b)).toEqual([
      42, 1_048_577, 1_048_578,
    ]);
  });
});
