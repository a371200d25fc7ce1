import { VOLUME_MODES } from '../volumes/volume.ts';
import { Fault } from '../fault.ts';
import { DRIVER_NAME } from '../volumes/driver.ts';
import { type ClaimView, type ClassView, describeClaim } from './provision.ts';
import { parseQuantity } from '../kube-text/quantity.ts';

/** Modes that a volume on one node can have. */
const ACCESS_MODES: ReadonlySet<string> = new Set(['ReadWriteOnce', 'ReadWriteOncePod']);

export type ClaimTurn =
  /** Somebody else's, bound already, or still waiting for the scheduler. */
  'not-now' | 'provision';

/**
 * Whether it is for us, and now, to make a volume for the claim. `class` is undefined when it is none of ours; `isOffered`: there is a
 * PersistentVolume that it could be bound to instead.
 */
export function decideTurn(
  claim: ClaimView,
  storageClass: ClassView | undefined,
  isOffered: boolean,
): ClaimTurn {
  if (storageClass === undefined || claim.volumeName !== '' || claim.isDeleting) return 'not-now';
  if (claim.provisioner !== undefined && claim.provisioner !== DRIVER_NAME) return 'not-now';
  // For a copy nobody asks before a pod exists, and then it would be too late to choose the node.
  if (isCopy(claim)) return 'provision';
  if (requiresProvisionerAnnotation(claim, isOffered)) return 'not-now';
  if (storageClass.waitsForConsumer && claim.selectedNode === undefined) return 'not-now';
  return 'provision';
}

/**
 * The volume binder asks by annotation, when it has found nothing among what is there already. Where it has nothing to choose from, its word
 * is known before it has said it.
 */
export function requiresProvisionerAnnotation(
  { provisioner, hasSelector }: Pick<ClaimView, 'provisioner' | 'hasSelector'>,
  isOffered: boolean,
): boolean {
  return provisioner === undefined && (hasSelector || isOffered);
}

/** True when the claim wants to begin as a copy: of another claim's volume, or of a snapshot. */
export function isCopy(claim: Pick<ClaimView, 'dataSource'>): boolean {
  return isCloneSource(claim) || isSnapshotSource(claim);
}

/** True when the claim wants to begin as a copy of another claim's volume. */
export function isCloneSource({ dataSource }: Pick<ClaimView, 'dataSource'>): boolean {
  return dataSource?.apiGroup === '' && dataSource.kind === 'PersistentVolumeClaim';
}

/** True when the claim wants to begin as what a VolumeSnapshot shows. */
export function isSnapshotSource({ dataSource }: Pick<ClaimView, 'dataSource'>): boolean {
  return dataSource?.apiGroup === 'snapshot.storage.k8s.io' && dataSource.kind === 'VolumeSnapshot';
}

/** The size in bytes. Throws `invalid` for a claim that no volume of ours can serve, in words for its author. */
export function checkClaim(claim: ClaimView): bigint {
  const who = describeClaim(claim);
  const refuse = (found: string, todo: string): Fault => new Fault('invalid', `${who} ${found}; ${todo}`);
  if (!VOLUME_MODES.some((mode) => mode === claim.volumeMode)) {
    throw refuse(`wants volumeMode ${claim.volumeMode}`, `possible are ${VOLUME_MODES.join(' and ')}`);
  }
  if (claim.hasSelector) {
    throw refuse(
      'has a selector',
      'a volume that is made for a claim has no labels to select: leave spec.selector out',
    );
  }
  const foreign = claim.accessModes.filter((mode) => !ACCESS_MODES.has(mode));
  if (foreign.length > 0) {
    throw refuse(
      `wants ${foreign.join(' and ')}`,
      `a volume is on one node: ask for ${[...ACCESS_MODES].join(' or ')}`,
    );
  }
  const bytes = parseQuantity(claim.request, `${who}: spec.resources.requests.storage`);
  if (bytes === 0n) throw refuse('asks for no space', 'set spec.resources.requests.storage');
  return bytes;
}
