import type { Explanation } from './explanation.ts';
import type { ExplainedClaim } from './pod-situation.ts';

/** What is wrong with a bound claim that keeps its pods from running; other things, such as an expansion that waits, do not. */
const BOUND_REASONS: ReadonlySet<string> = new Set(['VolumeLost', 'NodeLost', 'NoVolume', 'Lost']);

/** The claim that keeps a pod from running; one without a volume before one whose volume is in trouble. */
export function claimInTheWay(claims: readonly ExplainedClaim[]): Explanation | undefined {
  const stuck = claims.filter(({ explanation: { verdict } }) => verdict === 'stuck');
  const unbound = stuck.find(({ isBound }) => !isBound);
  return (unbound ?? stuck.find(({ explanation: { reason } }) => BOUND_REASONS.has(reason)))?.explanation;
}
