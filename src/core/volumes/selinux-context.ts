import { type BackendFeatures, ownsFilesystem } from './backend-features.ts';
import { Fault } from '../fault.ts';
import type { Volume } from './volume.ts';

/**
 * Whether a kernel labels files: `no-policy` where it could, but was given no policy since the
 * boot.
 */
export type SelinuxState = 'active' | 'no-policy' | 'absent';

/**
 * Reads the state from /proc/filesystems and /proc/self/attr/current. selinuxfs is known to a
 * kernel that has SELinux switched on, mounted or not (it is not in a container). Without a policy,
 * every process is just `kernel`.
 */
export function parseSelinuxState(filesystems: string, current: string): SelinuxState {
  if (!/^nodev\s+selinuxfs$/m.test(filesystems)) return 'absent';
  return current.includes(':') ? 'active' : 'no-policy';
}

/**
 * Throws `invalid` for a volume whose files share their file system with others, for a context is
 * that of a whole one.
 */
export function requireOwnFilesystem(
  volume: Pick<Volume, 'id' | 'pool' | 'volumeMode'>,
  features: Pick<BackendFeatures, 'backend'>,
  context: string,
): void {
  if (ownsFilesystem(features, volume)) return;
  throw new Fault(
    'invalid',
    `volume ${volume.id} cannot be mounted with context ${context}: pool ${volume.pool} (${features.backend}) has one file system for all its volumes, and a context is that of a whole one; take a pool with backend image, or leave the option to the container runtime, which labels the files: no context in mountOptions, and seLinuxMount: false in the CSIDriver`,
    { fields: { volumeId: volume.id, pool: volume.pool, backend: features.backend } },
  );
}

/** Throws `precondition` where this node's kernel could not mount anything with a context. */
export function requireSelinux(volumeId: string, context: string, state: SelinuxState): void {
  if (state === 'active') return;
  const why =
    state === 'absent'
      ? 'the kernel of this node has no SELinux, or it is switched off'
      : 'SELinux is switched on in the kernel of this node, but no policy is loaded';
  throw new Fault(
    'precondition',
    `volume ${volumeId} cannot be mounted with context ${context}: ${why}; leave the option out, or boot the node with SELinux and a policy`,
    { fields: { volumeId, selinux: state } },
  );
}

/**
 * The context that the volume has once it is staged with `wanted`. `heldAt` is where else it is
 * staged, or where a workload sees it: while there is such a place its file system stays mounted as
 * it is, and who names no context takes that. Throws `precondition` for another one.
 */
export function decideContext(
  { id, selinuxContext }: Pick<Volume, 'id' | 'selinuxContext'>,
  wanted: string | undefined,
  heldAt: string | undefined,
): string | undefined {
  if (heldAt === undefined) return wanted;
  if (wanted === undefined || wanted === selinuxContext) return selinuxContext;
  throw new Fault(
    'precondition',
    `volume ${id} is in use at ${heldAt} ${worded(selinuxContext)}, and cannot have context ${wanted} meanwhile: all files of a file system have the same; end what uses it first`,
    { fields: { volumeId: id, heldAt } },
  );
}

/**
 * Throws `precondition` when a publication names another context than the volume was staged with;
 * one that names none has that.
 */
export function requireStagedContext(
  { id, selinuxContext }: Pick<Volume, 'id' | 'selinuxContext'>,
  wanted: string | undefined,
): void {
  if (wanted === undefined || wanted === selinuxContext) return;
  throw new Fault(
    'precondition',
    `volume ${id} is staged ${worded(selinuxContext)}, and cannot be published with context ${wanted}: all files of a file system have the same; stage it with that one, once nothing uses it`,
    { fields: { volumeId: id } },
  );
}

function worded(context: string | undefined): string {
  return context === undefined ? 'without a context' : `with context ${context}`;
}
