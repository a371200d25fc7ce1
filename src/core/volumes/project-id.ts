/**
 * Project ids of volumes: far from those that people take (small ones), that kubelet takes for
 * ephemeral storage (1048577 and up) and that container engines count up from a directory's own.
 */
export const PROJECT_IDS = { first: 0x4000_0000, count: 0x1000_0000 } as const;

/** Whether a project id is of the range that volumes get theirs from. */
export function isVolumeProject(project: number): boolean {
  return project >= PROJECT_IDS.first && project < PROJECT_IDS.first + PROJECT_IDS.count;
}

/**
 * A project id that `taken` does not hold, near the one that `random` (0 to 2^32 - 1) stands for.
 */
export function pickProject(random: number, taken: ReadonlySet<number>): number {
  for (let step = 0; ; step += 1) {
    const project = PROJECT_IDS.first + ((random + step) % PROJECT_IDS.count);
    if (!taken.has(project)) return project;
  }
}

/**
 * Ids that /etc/projects (`ID:PATH`) and /etc/projid (`NAME:ID`) give away; lines that are neither
 * are nobody's.
 */
export function parseProjectFiles(projects: string, projid: string): Set<number> {
  const ids = [
    ...projects.split('\n').map((line) => /^\s*(\d+)\s*:/.exec(line)?.[1]),
    ...projid.split('\n').map((line) => /^[^#:]+:\s*(\d+)/.exec(line)?.[1]),
  ];
  return new Set(ids.filter((id) => id !== undefined).map(Number));
}
