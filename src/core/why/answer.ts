import type { ConsideredNode, Verdict } from './explanation.ts';

/** An explanation without its subject, its lists left out where they are empty. */
export interface Answer {
  readonly verdict: Verdict;
  readonly reason: string;
  readonly summary: string;
  readonly nodes?: readonly ConsideredNode[];
  readonly notes?: readonly string[];
  readonly advice?: readonly string[];
}

/** A step that is due for longer than this is not being taken. */
export const PATIENCE_SECONDS = 15;
