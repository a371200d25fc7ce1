import {
  type ApiCondition,
  apiTime,
  canonicalJson,
  settleConditions,
} from '../../core/kube-text/api-status.ts';
import { PERSISTENT_VOLUME_CLAIMS, type PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { keyOf, nameOfKey } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import { versionOf } from './bound-claim.ts';
import type { Cluster } from '../context/cluster.ts';

export interface ClaimStatusDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Pick<Cluster, 'claims'>;
  readonly clock: Clock;
}

/** The part of a claim's status that one reconciler writes. */
export interface ClaimStatusChange {
  /** A JSON merge patch; null removes a field. */
  readonly status: object;
  /** Condition types that the reconciler owns. */
  readonly own: ReadonlySet<string>;
  /** All owned conditions that hold now. */
  readonly conditions: readonly {
    readonly type: string;
    readonly reason: string;
    readonly message: string;
  }[];
}

/**
 * Writes part of a claim's status and leaves other writers' fields; does not write when nothing
 * would change.
 */
export async function writeClaimStatus(
  claim: PersistentVolumeClaim,
  { status, own, conditions }: ClaimStatusChange,
  { client, cluster, clock }: ClaimStatusDeps,
  signal: AbortSignal,
): Promise<void> {
  const known = (claim.status?.conditions ?? []) as readonly ApiCondition[];
  const now = apiTime(new Date(clock.nowMs()));
  const said = conditions.map((each) => ({ ...each, status: 'True' as const, lastTransitionTime: now }));
  const next = settleConditions(known, [...known.filter(({ type }) => !own.has(type)), ...said]);
  const isSaid =
    canonicalJson(said.map(({ type, message }) => [type, message])) ===
    canonicalJson(known.filter(({ type }) => own.has(type)).map(({ type, message }) => [type, message]));
  const merge = { status: { ...status, ...(isSaid ? {} : { conditions: next }) } };
  if (isSaid && hasAll(claim.status, status)) return;
  const written = await client.patch(
    PERSISTENT_VOLUME_CLAIMS,
    nameOfKey(keyOf(claim)),
    { merge, precondition: versionOf(claim) },
    { subresource: 'status', signal },
  );
  cluster.claims.remember(written);
}

/** Whether merging `patch` into `value` would change nothing. */
function hasAll(value: unknown, patch: unknown): boolean {
  if (patch === null) return value === undefined;
  if (typeof patch !== 'object') return value === patch;
  return Object.entries(patch).every(([key, part]) =>
    hasAll((value as Record<string, unknown> | undefined)?.[key], part),
  );
}
