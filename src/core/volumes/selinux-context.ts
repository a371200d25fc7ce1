import { type BackendFeatures, ownsFilesystem } from './backend-features.ts';
import { Fault } from '../fault.ts';
import type { Volume } from './volume.ts';

/** State of SELinux: `no-policy` if it is enabled but no policy was loaded since boot. */
export type SelinuxState = 'active' | 'no-policy' | 'absent';

/**
 * Parses the state from /proc/filesystems and /proc/self/attr/current. A kernel with SELinux
 * enabled lists selinuxfs, mounted or not. Without a policy every process has the context `kernel`.
 */
export function parseSelinuxState(filesystems: string, current: string): SelinuxState {
  if (!/^nodev\s+selinuxfs$/m.test(filesystems)) return 'absent';
  return current.includes(':') ? 'active' : 'no-policy';
}

/**
 * Throws `invalid` for a volume on a shared file system: a context applies to a whole file system.
 */
export function requireOwnFilesystem(
  volume: Pick<Volume, 'id' | 'pool' | 'volumeMode'>,
  features: Pick<BackendFeatures, 'backend'>,
  context: string,
): void {
  if (ownsFilesystem(features, volume)) return;
  throw new Fault(
    'invalid',
    `volume ${volume.id} cannot be mounted with context ${context}: pool ${volume.pool} (${features.backend}) has one file system for all its volumes, and a context applies to a whole one; use a pool with backend image, or omit context from mountOptions and set seLinuxMount: false in the CSIDriver, so that the container runtime labels the files`,
    { fields: { volumeId: volume.id, pool: volume.pool, backend: features.backend } },
  );
}

/** Throws `precondition` if the node's kernel cannot mount with a context. */
export function requireSelinux(volumeId: string, context: string, state: SelinuxState): void {
  if (state === 'active') return;
  const why =
    state === 'absent'
      ? 'the kernel of this node has no SELinux, or it is disabled'
      : 'SELinux is enabled in the kernel of this node, but no policy is loaded';
  throw new Fault(
    'precondition',
    `volume ${volumeId} cannot be mounted with context ${context}: ${why}; omit the option, or boot the node with SELinux and a policy`,
    { fields: { volumeId, selinux: state } },
  );
}

/**
 * Returns the context of a volume that is staged with `requested`. While it is in use at `inUseAt`,
 * it stays mounted with its context, which a call without a context accepts; throws `precondition`
 * for another one.
 */
export function decideContext(
  { id, selinuxContext }: Pick<Volume, 'id' | 'selinuxContext'>,
  requested: string | undefined,
  inUseAt: string | undefined,
): string | undefined {
  if (inUseAt === undefined) return requested;
  if (requested === undefined || requested === selinuxContext) return selinuxContext;
  throw new Fault(
    'precondition',
    `volume ${id} is in use at ${inUseAt} ${worded(selinuxContext)}, and cannot have context ${requested} at the same time: a context applies to a whole file system; stop its pods first`,
    { fields: { volumeId: id, inUseAt } },
  );
}

/** Throws `precondition` for a publication with another context than that of the staged volume. */
export function requireStagedContext(
  { id, selinuxContext }: Pick<Volume, 'id' | 'selinuxContext'>,
  requested: string | undefined,
): void {
  if (requested === undefined || requested === selinuxContext) return;
  throw new Fault(
    'precondition',
    `volume ${id} is staged ${worded(selinuxContext)}, and cannot be published with context ${requested}: a context applies to a whole file system; stage it with that context once it is unused`,
    { fields: { volumeId: id } },
  );
}

function worded(context: string | undefined): string {
  return context === undefined ? 'without a context' : `with context ${context}`;
}
