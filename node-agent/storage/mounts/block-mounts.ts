import { stat } from 'node:fs/promises';
import { Fault } from '../../../src/core/fault.ts';
import type { VolumeShape } from '../../../src/core/volumes/volume.ts';
import type { MountPlan } from '../../../src/core/volumes/volume-access.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { FilesystemStats } from '../contract/volume-mounts.ts';
import type { ModeMounts } from './mounts-by-mode.ts';
import { TargetMounts } from './target-mounts.ts';

export interface BlockMountsOptions {
  /** Returns the path of a volume's file, through the pool's open root. */
  readonly fileOf: (id: string) => string;
}

/** Attaches Block volumes as loop devices of their files, and mounts the devices at targets. */
export class BlockMounts implements ModeMounts {
  readonly #fileOf: (id: string) => string;
  readonly #kernel: Kernel;
  readonly targets: TargetMounts;

  constructor({ fileOf }: BlockMountsOptions, { kernel }: { readonly kernel: Kernel }) {
    this.#fileOf = fileOf;
    this.#kernel = kernel;
    this.targets = new TargetMounts(
      {
        kind: 'device',
        isMountOf: async ({ id }, shown) => {
          if (!shown.isBlockDevice()) return false;
          const path = await this.#kernel.call('findLoopPath', fileOf(id));
          return path !== undefined && (await stat(path, { bigint: true })).rdev === shown.rdev;
        },
        bind: (volume, place, plan) => this.#bind(volume, place, plan),
      },
      { kernel },
    );
  }

  /** No mount keeps the device attached, so it has no autoclear: it outlives the agent. */
  async attach({ id }: VolumeShape): Promise<void> {
    const device = await this.#kernel.call('attachLoop', this.#fileOf(id), { autoclear: false });
    await this.#kernel.call('closeLoop', { fd: device.fd });
  }

  async detach(volume: VolumeShape): Promise<void> {
    await using device = await this.#hold(volume);
    if (device === undefined) return;
    await this.#kernel.call('flushDevice', device.path);
    await this.#kernel.call('detachLoop', device.path);
  }

  async grow(volume: VolumeShape): Promise<void> {
    await using device = await this.#hold(volume);
    if (device !== undefined) await this.#kernel.call('refreshLoopCapacity', device.path);
  }

  async flush(volume: VolumeShape): Promise<void> {
    await using device = await this.#hold(volume);
    if (device !== undefined) await this.#kernel.call('flushDevice', device.path);
  }

  /**
   * The device's content belongs to the pod: a copy is crash-consistent, with all completed writes.
   */
  async freeze(volume: VolumeShape): Promise<AsyncDisposable> {
    await this.flush(volume);
    return { async [Symbol.asyncDispose]() {} };
  }

  deviceOf({ id }: VolumeShape): Promise<string | undefined> {
    return this.#kernel.call('findLoopNumber', this.#fileOf(id));
  }

  async ensureGroup({ id }: VolumeShape): Promise<void> {
    throw new Fault('bug', `Block volume ${id} has no files whose group could be changed`);
  }

  async stats({ id, sizeBytes }: VolumeShape): Promise<FilesystemStats> {
    const { blocks } = await stat(this.#fileOf(id), { bigint: true });
    const allocated = blocks * 512n;
    const usedBytes = allocated > sizeBytes ? sizeBytes : allocated;
    return { totalBytes: sizeBytes, usedBytes, availableBytes: sizeBytes - usedBytes };
  }

  /** A read-only mount does not protect a device node: the device itself is set read-only. */
  async #bind(volume: VolumeShape, place: string, plan: MountPlan): Promise<void> {
    // Attached already, except after a reboot.
    await this.attach(volume);
    await using device = await this.#hold(volume);
    if (device === undefined)
      throw new Fault('unavailable', `the loop device of volume ${volume.id} was detached; try again`);
    await this.#kernel.call('setReadOnly', device.path, plan.readonly);
    await this.#kernel.call('bindDevice', device.path, place, plan);
  }

  /**
   * Opens the volume's device, if it is attached. While it is open, its path cannot be detached and
   * reused for another file.
   */
  async #hold({ id }: VolumeShape): Promise<({ readonly path: string } & AsyncDisposable) | undefined> {
    const device = await this.#kernel.call('findLoop', this.#fileOf(id));
    if (device === undefined) return undefined;
    const close = (): Promise<void> => this.#kernel.call('closeLoop', { fd: device.fd });
    return { path: device.path, [Symbol.asyncDispose]: close };
  }
}
