/**
 * Range of volumes' project ids: apart from small ids of administrators, those of kubelet's
 * ephemeral storage (from 1048577), and those of container engines.
 */
export const PROJECT_IDS = { first: 0x4000_0000, count: 0x1000_0000 } as const;

/** Whether a project id is in the range of volumes' ids. */
export function isVolumeProject(project: number): boolean {
  return project >= PROJECT_IDS.first && project < PROJECT_IDS.first + PROJECT_IDS.count;
}

/** Returns a project id that is not in `taken`; `random` is 0 to 2^32 - 1. */
export function pickProject(random: number, taken: ReadonlySet<number>): number {
  for (let step = 0; ; step += 1) {
    const project = PROJECT_IDS.first + ((random + step) % PROJECT_IDS.count);
    if (!taken.has(project)) return project;
  }
}

/**
 * Returns the ids in /etc/projects (`ID:PATH`) and /etc/projid (`NAME:ID`); ignores other lines.
 */
export function parseProjectFiles(projects: string, projid: string): Set<number> {
  const ids = [
    ...projects.split('\n').map((line) => /^\s*(\d+)\s*:/.exec(line)?.[1]),
    ...projid.split('\n').map((line) => /^[^#:]+:\s*(\d+)/.exec(line)?.[1]),
  ];
  return new Set(ids.filter((id) => id !== undefined).map(Number));
}
