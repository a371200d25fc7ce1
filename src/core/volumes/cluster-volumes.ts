/** The state of a LocalVolume and of the objects that refer to it. */
export interface VolumeStanding {
  readonly phase: 'Pending' | 'Ready' | 'Exhausted' | 'Failed' | 'Lost';
  readonly isSnapshot: boolean;
  readonly isDeleting: boolean;
  /** Whether a PersistentVolume was created for it. */
  readonly isPublished: boolean;
  readonly nodeExists: boolean;
  /** Phase of the PersistentVolume with its handle; undefined without one. */
  readonly ownerPhase: string | undefined;
  /** Whether the claim that it was created for exists. */
  readonly claimExists: boolean;
  readonly ageSeconds: number;
}

/**
 * Marks a volume that needs attention: its data or node is lost, it is `retained` without a claim,
 * `unreferenced` (the controller deletes it), or `pending` or `deleting` for too long.
 */
export type VolumeMark = 'lost' | 'node-not-found' | 'deleting' | 'retained' | 'unreferenced' | 'pending';

const MAX_PENDING_SECONDS = 300;

/** Returns undefined for a volume in its expected state. */
export function markVolume(standing: VolumeStanding): VolumeMark | undefined {
  const { phase, isDeleting, isSnapshot, isPublished, ownerPhase, claimExists, ageSeconds } = standing;
  if (phase === 'Lost') return 'lost';
  if (!standing.nodeExists) return 'node-not-found';
  if (isDeleting) return ageSeconds > MAX_PENDING_SECONDS ? 'deleting' : undefined;
  if (isSnapshot) return undefined;
  if (ownerPhase === undefined) {
    if (isPublished) return 'retained';
    if (!claimExists) return 'unreferenced';
  }
  if (ownerPhase === 'Released' || ownerPhase === 'Failed') return 'retained';
  return phase !== 'Ready' && ageSeconds > MAX_PENDING_SECONDS ? 'pending' : undefined;
}

/** The meaning of each mark, for the CLI. */
export const MARK_MEANINGS: Readonly<Record<VolumeMark, string>> = {
  lost: 'its data is lost',
  'node-not-found': 'its node is not in the cluster; its data is on that node',
  deleting: 'its agent has not removed its data yet',
  retained: 'it has no claim; its data stays until an administrator adopts or deletes it',
  unreferenced: 'no PersistentVolume was created for it; the controller deletes it',
  pending: 'its agent has not created it yet',
};

/** Formats an age as kubectl does: `17s`, `5m`, `3h12m`, `4d`. */
export function formatAge(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 120) return `${minutes}m`;
  if (hours < 48) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  return `${days}d`;
}
