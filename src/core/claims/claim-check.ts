import { VOLUME_MODES } from '../volumes/volume.ts';
import { Fault } from '../fault.ts';
import { DRIVER_NAME } from '../volumes/driver.ts';
import { type ClaimView, type ClassView, describeClaim } from './provision.ts';
import { parseQuantity } from '../kube-text/quantity.ts';

/** Access modes that a volume on one node can have. */
const ACCESS_MODES: ReadonlySet<string> = new Set(['ReadWriteOnce', 'ReadWriteOncePod']);

/** Whether Keelson provisions a claim, now or later. */
export type ClaimTurn =
  /** Of another provisioner, bound, or still waiting for the scheduler. */
  'not-now' | 'provision';

/**
 * Returns whether Keelson provisions the claim now. `storageClass` is undefined for another
 * provisioner's class; `isOffered`: an existing PersistentVolume could be bound instead.
 */
export function decideTurn(
  claim: ClaimView,
  storageClass: ClassView | undefined,
  isOffered: boolean,
): ClaimTurn {
  if (storageClass === undefined || claim.volumeName !== '' || claim.isDeleting) return 'not-now';
  if (claim.provisioner !== undefined && claim.provisioner !== DRIVER_NAME) return 'not-now';
  // A copy does not wait for a pod: by then it would be too late to choose the node.
  if (isCopy(claim)) return 'provision';
  if (requiresProvisionerAnnotation(claim, isOffered)) return 'not-now';
  if (storageClass.waitsForConsumer && claim.selectedNode === undefined) return 'not-now';
  return 'provision';
}

/**
 * kube-controller-manager sets the annotation when it finds no existing PersistentVolume. Where
 * none could match, the result is known in advance.
 */
export function requiresProvisionerAnnotation(
  { provisioner, hasSelector }: Pick<ClaimView, 'provisioner' | 'hasSelector'>,
  isOffered: boolean,
): boolean {
  return provisioner === undefined && (hasSelector || isOffered);
}

/** Whether the claim is a clone or a restore of a snapshot. */
export function isCopy(claim: Pick<ClaimView, 'dataSource'>): boolean {
  return isCloneSource(claim) || isSnapshotSource(claim);
}

/** Whether the claim is a clone of another claim. */
function isCloneSource({ dataSource }: Pick<ClaimView, 'dataSource'>): boolean {
  return dataSource?.apiGroup === '' && dataSource.kind === 'PersistentVolumeClaim';
}

/** Whether the claim restores a VolumeSnapshot. */
export function isSnapshotSource({ dataSource }: Pick<ClaimView, 'dataSource'>): boolean {
  return dataSource?.apiGroup === 'snapshot.storage.k8s.io' && dataSource.kind === 'VolumeSnapshot';
}

/** Returns the size in bytes. Throws `invalid` for a claim that Keelson cannot serve. */
export function checkClaim(claim: ClaimView): bigint {
  const who = describeClaim(claim);
  const refuse = (found: string, todo: string): Fault => new Fault('invalid', `${who} ${found}; ${todo}`);
  if (!VOLUME_MODES.some((mode) => mode === claim.volumeMode)) {
    throw refuse(`requests volumeMode ${claim.volumeMode}`, `expected ${VOLUME_MODES.join(' or ')}`);
  }
  if (claim.hasSelector) {
    throw refuse('has a selector', 'provisioned volumes have no labels to select: remove spec.selector');
  }
  const foreign = claim.accessModes.filter((mode) => !ACCESS_MODES.has(mode));
  if (foreign.length > 0) {
    throw refuse(
      `requests ${foreign.join(' and ')}`,
      `a local volume is on one node: expected ${[...ACCESS_MODES].join(' or ')}`,
    );
  }
  const bytes = parseQuantity(claim.request, `${who}: spec.resources.requests.storage`);
  if (bytes === 0n) throw refuse('requests no storage', 'set spec.resources.requests.storage');
  return bytes;
}
