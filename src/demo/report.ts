import { formatBytes } from '../core/kube-text/quantity.ts';
import { renderTable } from '../runtime/text-table.ts';
import type { Leftovers } from './leftovers.ts';
import { formatDuration, type StepReport } from './progress-reporter.ts';

interface VolumeReport {
  readonly name: string;
  readonly id: string;
  readonly sizeBytes: string;
  readonly source: string;
}

interface PodReport {
  readonly name: string;
  readonly sandboxId: string;
  readonly addresses: readonly string[];
  readonly volume: string;
}

export interface PingReport {
  readonly from: string;
  readonly to: string;
  readonly what: string;
  readonly milliseconds: number;
}

/** Results of a run, filled step by step; `--report` writes them as JSON. */
export interface DemoFindings {
  containerd?: string;
  csiDriver?: string;
  readonly volumes: VolumeReport[];
  readonly pods: PodReport[];
  readonly pings: PingReport[];
  checksums?: { readonly written: string; readonly readFromClone: string };
  overfill?: {
    readonly error: string;
    readonly writtenBytes: number;
    readonly sizeBytes: number;
    /** Used bytes by NodeGetVolumeStats at that time. */
    readonly statsUsedBytes: number;
  };
  policy?: {
    readonly variable: string;
    readonly before: string;
    readonly after: string;
    readonly denial: string;
  };
  /** Resources of the agent after the release. */
  remaining?: { readonly volumes: number; readonly snapshots: number; readonly attachments: number };
}

export type DemoOutcome = 'passed' | 'failed' | 'interrupted' | 'refused';

export interface DemoReport extends DemoFindings {
  readonly outcome: DemoOutcome;
  readonly failure?: string | undefined;
  readonly directory?: string | undefined;
  readonly podRange?: string | undefined;
  readonly kept: boolean;
  readonly durationMs: number;
  readonly steps: readonly StepReport[];
  readonly leftovers?: Leftovers | undefined;
}

/** Returns the closing tables: resources, effects and durations. */
export function renderFindings(findings: DemoFindings, steps: readonly StepReport[]): string {
  const { volumes, pods, pings, overfill, policy } = findings;
  const sections = [
    renderTable(
      ['VOLUME', 'SIZE', 'SOURCE', 'ID'],
      volumes.map(({ name, sizeBytes, source, id }) => [name, formatBytes(BigInt(sizeBytes)), source, id]),
    ),
    renderTable(
      ['POD', 'ADDRESS', 'VOLUME'],
      pods.map(({ name, addresses, volume }) => [name, addresses.join(', '), volume]),
    ),
    renderTable(
      ['FROM', 'TO', 'ROUND TRIP'],
      pings.map(({ from, to, what, milliseconds }) => [from, `${what} ${to}`, `${milliseconds} ms`]),
    ),
    renderTable(
      ['LIMIT AND POLICY', 'EFFECT'],
      [
        ...(overfill === undefined
          ? []
          : [
              ['size of the volume', `${overfill.error} after ${formatBytes(BigInt(overfill.writtenBytes))}`],
            ]),
        ...(policy === undefined
          ? []
          : [
              [`variable ${policy.variable}`, `${policy.before} before, ${policy.after} after`],
              ['label-selected denial', policy.denial.split(': ')[0] ?? ''],
            ]),
      ],
    ),
    renderTable(['SECTION', 'DURATION'], sectionDurations(steps)),
    renderTable(['CALL', 'COUNT', 'DURATION'], callDurations(steps)),
  ];
  return sections
    .filter((section) => section !== '')
    .map((section) => `\n${section.replace(/^/gm, '  ').trimEnd()}\n`)
    .join('');
}

/** From the start of the first step to the end of the last: steps may run concurrently. */
function sectionDurations(steps: readonly StepReport[]): string[][] {
  const sections = Map.groupBy(
    steps.filter(({ section }) => section !== ''),
    ({ section }) => section,
  );
  return [...sections].map(([section, own]) => {
    const startMs = Math.min(...own.map(({ startedMs }) => startedMs));
    const endMs = Math.max(...own.map(({ startedMs, durationMs }) => startedMs + durationMs));
    return [section, formatDuration(endMs - startMs)];
  });
}

/** API calls are the steps with an API name. */
function callDurations(steps: readonly StepReport[]): string[][] {
  const calls = Map.groupBy(
    steps.filter(({ title, ok }) => ok && /^[A-Z]\w+[A-Z]\w+(, [A-Z]\w+| from the snapshot)?$/.test(title)),
    ({ title }) => title,
  );
  return [...calls].map(([title, own]) => {
    const durations = own.map(({ durationMs }) => durationMs).sort((a, b) => a - b);
    const [least = 0] = durations;
    const most = durations.at(-1) ?? 0;
    const range =
      least === most ? formatDuration(least) : `${formatDuration(least)} to ${formatDuration(most)}`;
    return [title, String(own.length), range];
  });
}
