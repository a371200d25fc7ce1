import type { Explanation } from './explanation.ts';
import type { ExplainedClaim } from './pod-situation.ts';

/**
 * Reasons of a bound claim that prevent its pods from running; others, such as a pending expansion,
 * do not.
 */
const BOUND_REASONS: ReadonlySet<string> = new Set(['VolumeLost', 'NodeLost', 'NoVolume', 'Lost']);

/**
 * Returns the claim that prevents a pod from running; one without a volume before one whose volume
 * has a problem.
 */
export function findBlockingClaim(claims: readonly ExplainedClaim[]): Explanation | undefined {
  const stuck = claims.filter(({ explanation: { verdict } }) => verdict === 'stuck');
  const unbound = stuck.find(({ isBound }) => !isBound);
  return (unbound ?? stuck.find(({ explanation: { reason } }) => BOUND_REASONS.has(reason)))?.explanation;
}
