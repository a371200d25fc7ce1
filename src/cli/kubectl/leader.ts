import type { LeaderFacts } from '../../core/why/facts.ts';
import { LEASES, type Lease } from '../../kube/built-in.ts';
import type { ClusterReader } from './cluster-reader.ts';

/** Returns the controller's Lease, if it exists. */
export async function readLease(reader: ClusterReader, namespace: string): Promise<Lease | undefined> {
  return await reader.find(LEASES, { namespace, name: 'keelson-controller' });
}

/** Returns the holder of the Lease and the time since its last renewal. */
export function leaderFacts(lease: Lease | undefined, nowMs: number): LeaderFacts | undefined {
  if (lease === undefined) return undefined;
  const { holderIdentity = '', renewTime, leaseDurationSeconds = 0 } = lease.spec ?? {};
  const silentMs = nowMs - Date.parse(renewTime ?? '');
  return {
    holder: holderIdentity,
    silentSeconds: Number.isFinite(silentMs) ? Math.max(0, Math.floor(silentMs / 1_000)) : 0,
    leaseSeconds: leaseDurationSeconds,
  };
}
