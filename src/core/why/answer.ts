import type { ConsideredNode, Verdict } from './explanation.ts';

/** An explanation without its subject; empty lists are omitted. */
export interface Answer {
  readonly verdict: Verdict;
  readonly reason: string;
  readonly summary: string;
  readonly nodes?: readonly ConsideredNode[];
  readonly notes?: readonly string[];
  readonly advice?: readonly string[];
}

/** A step that is overdue for longer than this is not in progress. */
export const PATIENCE_SECONDS = 15;
