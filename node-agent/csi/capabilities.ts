import { Fault } from '../../src/core/fault.ts';
import type { RequestedForm } from '../../src/core/volumes/backend-features.ts';
import {
  ACCESS_MODES,
  type AccessMode,
  FS_TYPES,
  type FsType,
  type VolumeMode,
  type VolumeShape,
} from '../../src/core/volumes/volume.ts';
import { planMount } from '../../src/core/volumes/volume-access.ts';
import type { VolumeCapability__Output } from '../../src/rpc/gen/csi/v1/VolumeCapability.ts';

/** A CSI volume capability, parsed. */
export interface Access {
  readonly mode: AccessMode;
  readonly volumeMode: VolumeMode;
  /** Undefined if the pool decides. */
  readonly fsType: FsType | undefined;
  readonly mountFlags: readonly string[];
  /** The group that all files change to; undefined: no change. */
  readonly group: number | undefined;
}

/** chown(2) reads 2^32 - 1 as "no change". */
const LARGEST_GROUP = 2 ** 32 - 2;

/**
 * Parses a capability. Throws `invalid` if it is missing, incomplete, or not possible on one node.
 */
export function parseAccess(capability: VolumeCapability__Output | null): Access {
  if (capability === null) throw new Fault('invalid', 'volume_capability is missing');
  const mode = parseAccessMode(capability.access_mode?.mode ?? 'UNKNOWN');
  if (capability.block)
    return { mode, volumeMode: 'Block', fsType: undefined, mountFlags: [], group: undefined };
  if (!capability.mount) throw new Fault('invalid', 'volume_capability: neither mount nor block is set');
  const { fs_type: type, mount_flags: mountFlags, volume_mount_group: groupText } = capability.mount;
  const fsType = FS_TYPES.find((known) => known === type);
  if (type !== '' && fsType === undefined) {
    throw new Fault(
      'invalid',
      `volume_capability: fs_type is ${JSON.stringify(type)}; expected ${FS_TYPES.join(', ')}, if the pool supports it`,
    );
  }
  planMount(mountFlags, false);
  return { mode, volumeMode: 'Filesystem', fsType, mountFlags, group: parseGroup(groupText) };
}

function parseGroup(text: string): number | undefined {
  if (text === '') return undefined;
  const group = /^(?:0|[1-9]\d{0,9})$/.test(text) ? Number(text) : Number.NaN;
  if (group <= LARGEST_GROUP) return group;
  throw new Fault(
    'invalid',
    `volume_capability: volume_mount_group is ${JSON.stringify(text.slice(0, 128))}; expected a group id in decimal digits, 0 to ${LARGEST_GROUP}`,
  );
}

function parseAccessMode(mode: string): AccessMode {
  if (mode === 'UNKNOWN') throw new Fault('invalid', 'volume_capability: access_mode is missing');
  const known = ACCESS_MODES.find((possible) => possible === mode);
  if (known !== undefined) return known;
  throw new Fault(
    'invalid',
    `volume_capability: access mode ${mode} is not supported, a volume is on one node; expected ${ACCESS_MODES.join(', ')}`,
  );
}

/**
 * Returns the form that satisfies all capabilities. Throws `invalid` without any, and if none does.
 */
export function parseForm(capabilities: readonly VolumeCapability__Output[]): RequestedForm {
  const [first, ...others] = capabilities.map((capability) => parseAccess(capability));
  if (first === undefined) throw new Fault('invalid', 'volume_capabilities is empty; name at least one');
  let { fsType } = first;
  for (const other of others) {
    const fits = other.fsType === undefined || fsType === undefined || other.fsType === fsType;
    if (other.volumeMode !== first.volumeMode || !fits) {
      throw new Fault(
        'invalid',
        'volume_capabilities: they differ in volume mode or file system, which a volume has only one of',
      );
    }
    fsType ??= other.fsType;
  }
  return { volumeMode: first.volumeMode, fsType };
}

/** Throws `invalid` unless the volume has the form of the capability. */
export function checkForm(
  { id, volumeMode, fsType }: VolumeShape,
  wanted: Pick<Access, 'volumeMode' | 'fsType'>,
): void {
  const same = wanted.volumeMode === volumeMode && (wanted.fsType === undefined || wanted.fsType === fsType);
  if (same) return;
  const describe = (form: Pick<Access, 'volumeMode' | 'fsType'>): string =>
    form.fsType === undefined ? form.volumeMode : `${form.volumeMode} with ${form.fsType}`;
  throw new Fault(
    'invalid',
    `volume_capability: volume ${id} is ${describe({ volumeMode, fsType })}, not ${describe(wanted)}`,
    { fields: { volumeId: id } },
  );
}
