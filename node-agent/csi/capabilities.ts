import { Fault } from '../../src/core/fault.ts';
import { ACCESS_MODES, type AccessMode } from '../../src/core/volume.ts';
import { planMount } from '../../src/core/volume-access.ts';
import type { VolumeCapability__Output } from '../../src/rpc/gen/csi/v1/VolumeCapability.ts';

/** A volume capability in our terms: always a mounted filesystem on one node. */
export interface Access {
  readonly mode: AccessMode;
  readonly mountFlags: readonly string[];
}

/** Throws `invalid` for a capability that is missing, incomplete, or that a volume on one node cannot have. */
export function parseAccess(capability: VolumeCapability__Output | null): Access {
  if (capability === null) throw new Fault('invalid', 'volume_capability is missing');
  const mode = capability.access_mode?.mode ?? 'UNKNOWN';
  if (capability.block) {
    throw new Fault(
      'invalid',
      'volume_capability: raw block volumes are not supported; use volumeMode Filesystem',
    );
  }
  if (!capability.mount) throw new Fault('invalid', 'volume_capability: neither mount nor block is set');
  if (mode === 'UNKNOWN') throw new Fault('invalid', 'volume_capability: access_mode is missing');
  const { fs_type: type, mount_flags: mountFlags, volume_mount_group: group } = capability.mount;
  if (type !== '' && type !== 'btrfs') {
    throw new Fault(
      'invalid',
      `volume_capability: fs_type is ${JSON.stringify(type)}; this pool has btrfs, leave it out`,
    );
  }
  if (group !== '') {
    throw new Fault(
      'invalid',
      'volume_capability: volume_mount_group is not supported; kubelet applies fsGroup itself',
    );
  }
  const known = ACCESS_MODES.find((possible) => possible === mode);
  if (known === undefined) {
    throw new Fault(
      'invalid',
      `volume_capability: access mode ${mode} spans nodes, but a volume here is on one node; possible are ${ACCESS_MODES.join(', ')}`,
    );
  }
  planMount(mountFlags, false);
  return { mode: known, mountFlags };
}

/** Throws `invalid` when there is none, or one of them is not possible. */
export function checkCapabilities(capabilities: readonly VolumeCapability__Output[]): void {
  if (capabilities.length === 0)
    throw new Fault('invalid', 'volume_capabilities is empty; name at least one');
  for (const capability of capabilities) parseAccess(capability);
}
