import type { Lease } from './built-in.ts';

/** A lease, and when this process first observed its current content. */
export interface ObservedLease {
  readonly lease: Lease;
  /** On this process's monotonic clock: clocks of machines differ. */
  readonly changedAtMs: number;
}

/** Returns the observation of a lease that was just read; an unchanged lease keeps its time. */
export function observeLease(seen: ObservedLease | undefined, lease: Lease, nowMs: number): ObservedLease {
  const same = seen !== undefined && JSON.stringify(seen.lease.spec) === JSON.stringify(lease.spec);
  return { lease, changedAtMs: same ? seen.changedAtMs : nowMs };
}

/** Whether another candidate holds an unexpired lease. */
export function isHeldByOther(
  { lease, changedAtMs }: ObservedLease,
  identity: string,
  nowMs: number,
): boolean {
  const { holderIdentity = '', leaseDurationSeconds = 0 } = lease.spec ?? {};
  if (holderIdentity === '' || holderIdentity === identity) return false;
  return nowMs < changedAtMs + leaseDurationSeconds * 1_000;
}

interface LeaseClaim {
  readonly namespace: string;
  readonly name: string;
  readonly identity: string;
  readonly leaseMs: number;
  /** Wall clock, for humans only. */
  readonly nowMs: number;
}

/** Returns the lease as acquired or renewed by `identity`. */
export function claimLease(lease: Lease | undefined, claim: LeaseClaim): Lease {
  const { namespace, name, identity, leaseMs, nowMs } = claim;
  const { spec, metadata } = lease ?? {};
  const isHolder = spec?.holderIdentity === identity;
  const now = microTime(nowMs);
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: metadata ?? { namespace, name },
    spec: {
      ...spec,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1_000),
      acquireTime: isHolder ? (spec.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (spec?.leaseTransitions ?? 0) + (isHolder || lease === undefined ? 0 : 1),
    },
  };
}

/** Returns the lease as released by its holder. */
export function releaseLease(lease: Lease, nowMs: number): Lease {
  const now = microTime(nowMs);
  const spec = {
    ...lease.spec,
    holderIdentity: '',
    leaseDurationSeconds: 1,
    renewTime: now,
    acquireTime: now,
  };
  return { ...lease, spec };
}

/** Returns a metav1.MicroTime: RFC 3339 with six decimals. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
