import { Fault } from '../../../src/core/fault.ts';
import type { VolumeMode, VolumeShape } from '../../../src/core/volumes/volume.ts';
import type {
  VolumeAttachment,
  VolumeMounts,
  VolumeTargets,
  WriteBarrier,
} from '../contract/volume-mounts.ts';

/** Attaches and freezes volumes of one mode; `targets` mounts them. */
export interface ModeMounts extends VolumeAttachment, WriteBarrier {
  readonly targets: VolumeTargets;
}

/**
 * Returns mounts that dispatch by volume mode. Throws `unsupported` for a mode that is not given.
 */
export function mountsByMode(mounts: Readonly<Partial<Record<VolumeMode, ModeMounts>>>): VolumeMounts {
  const of = ({ id, volumeMode }: VolumeShape): ModeMounts => {
    const found = mounts[volumeMode];
    if (found !== undefined) return found;
    throw new Fault('unsupported', `the pool of volume ${id} does not support ${volumeMode} volumes`, {
      fields: { volumeId: id },
    });
  };
  return {
    attach: async (volume, key) => await of(volume).attach(volume, key),
    detach: async (volume) => await of(volume).detach(volume),
    grow: async (volume) => await of(volume).grow(volume),
    flush: async (volume) => await of(volume).flush(volume),
    freeze: async (volume) => await of(volume).freeze(volume),
    deviceOf: async (volume) => await of(volume).deviceOf(volume),
    ensureGroup: async (volume, group) => await of(volume).ensureGroup(volume, group),
    stats: async (volume) => await of(volume).stats(volume),
    mount: async (volume, target, plan) => await of(volume).targets.mount(volume, target, plan),
    unmount: async (volume, target) => await of(volume).targets.unmount(volume, target),
    isMounted: async (volume, target) => await of(volume).targets.isMounted(volume, target),
  };
}
