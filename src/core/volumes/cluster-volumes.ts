/** What is known of one LocalVolume and of what it stands for. */
export interface VolumeStanding {
  readonly phase: 'Pending' | 'Ready' | 'Exhausted' | 'Failed' | 'Lost';
  readonly isSnapshot: boolean;
  readonly isDeleting: boolean;
  /** A PersistentVolume was made of it once. */
  readonly isPublished: boolean;
  readonly nodeExists: boolean;
  /** Phase of the PersistentVolume with its handle; undefined when there is none. */
  readonly ownerPhase: string | undefined;
  /** The claim that it was made for still exists. */
  readonly claimExists: boolean;
  readonly ageSeconds: number;
}

/**
 * How a volume stands out of the ordinary: `lost` (its data is gone), `node-gone`, `deleting` (for
 * longer than it takes), `kept` (no claim has it, and its data stays), `unowned` (nothing ever had
 * it; the controller removes it), `unmade` (for longer than it takes).
 */
export type VolumeMark = 'lost' | 'node-gone' | 'deleting' | 'kept' | 'unowned' | 'unmade';

const PATIENCE_SECONDS = 300;

/** Undefined for a volume that is as it should be. */
export function markVolume(standing: VolumeStanding): VolumeMark | undefined {
  const { phase, isDeleting, isSnapshot, isPublished, ownerPhase, claimExists, ageSeconds } = standing;
  if (phase === 'Lost') return 'lost';
  if (!standing.nodeExists) return 'node-gone';
  if (isDeleting) return ageSeconds > PATIENCE_SECONDS ? 'deleting' : undefined;
  if (isSnapshot) return undefined;
  if (ownerPhase === undefined) {
    if (isPublished) return 'kept';
    if (!claimExists) return 'unowned';
  }
  if (ownerPhase === 'Released' || ownerPhase === 'Failed') return 'kept';
  return phase !== 'Ready' && ageSeconds > PATIENCE_SECONDS ? 'unmade' : undefined;
}

/** What a mark means for whoever reads it. */
export const MARK_MEANINGS: Readonly<Record<VolumeMark, string>> = {
  lost: 'its data is not on its node any more',
  'node-gone': 'its node is not in the cluster; its data is wherever the node is',
  deleting: 'it should be gone by now; its agent has to remove the data',
  kept: 'no claim has it, and its data stays until somebody adopts or deletes it',
  unowned: 'nothing has ever had it; the controller removes it',
  unmade: 'its agent has not made it yet',
};

/** `17s`, `5m`, `3h12m`, `4d`: ages as kubectl writes them, coarser the older. */
export function formatAge(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 120) return `${minutes}m`;
  if (hours < 48) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  return `${days}d`;
}
