import type { Lease } from './built-in.ts';

/** A lease as it was read, and when it was first seen so. */
export interface SeenLease {
  readonly lease: Lease;
  /** Of our own clock: clocks of machines differ, so no timestamp of another is compared with it. */
  readonly changedAtMs: number;
}

/** Takes note of what was read now; a lease that did not change stays as old as it was. */
export function observeLease(seen: SeenLease | undefined, lease: Lease, nowMs: number): SeenLease {
  const same = seen !== undefined && JSON.stringify(seen.lease.spec) === JSON.stringify(lease.spec);
  return { lease, changedAtMs: same ? seen.changedAtMs : nowMs };
}

/** Whether someone other than `identity` leads, as far as we can know. */
export function isHeldByOther({ lease, changedAtMs }: SeenLease, identity: string, nowMs: number): boolean {
  const { holderIdentity = '', leaseDurationSeconds = 0 } = lease.spec ?? {};
  if (holderIdentity === '' || holderIdentity === identity) return false;
  return nowMs < changedAtMs + leaseDurationSeconds * 1_000;
}

export interface LeaseClaim {
  readonly namespace: string;
  readonly name: string;
  readonly identity: string;
  readonly leaseMs: number;
  /** Wall clock, for people who read the lease. */
  readonly nowMs: number;
}

/** What `identity` writes to take the lease or to keep it. */
export function claimLease(lease: Lease | undefined, claim: LeaseClaim): Lease {
  const { namespace, name, identity, leaseMs, nowMs } = claim;
  const { spec, metadata } = lease ?? {};
  const mine = spec?.holderIdentity === identity;
  const now = microTime(nowMs);
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: metadata ?? { namespace, name },
    spec: {
      ...spec,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1_000),
      acquireTime: mine ? (spec.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (spec?.leaseTransitions ?? 0) + (mine || lease === undefined ? 0 : 1),
    },
  };
}

/** What its holder writes so that others need not wait. */
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

/** metav1.MicroTime: RFC 3339 with exactly six decimals. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
