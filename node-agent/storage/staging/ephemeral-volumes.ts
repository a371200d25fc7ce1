import { lstat } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import type { Publication, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName, isId } from '../../../src/core/volumes/volume-name.ts';
import type { SizeRange } from '../../../src/core/volumes/volume-size.ts';
import type { Attachments } from './staging.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';
import { absent } from '../../linux/files/absent.ts';
import type { PoolChoice, Volumes } from '../volumes/volumes.ts';

/** A volume that is made for one pod, when it is published, and goes with it. */
export interface PublishEphemeral extends Publication, PoolChoice {
  /** How the caller calls the volume; it is no id of ours. */
  readonly handle: string;
  readonly range: SizeRange;
  /** The group that all files are to be of; as with `Publish`. */
  readonly group?: number | undefined;
  /** What came with the call, for a volume that is encrypted. */
  readonly secrets?: Readonly<Record<string, string>>;
}

export interface EphemeralsDeps extends OperationDeps {
  readonly volumes: Volumes;
  readonly attachments: Attachments;
}

/** Volumes that live as long as a pod. Their name is the caller's handle; they are staged at their target. */
export class Ephemerals {
  readonly #deps: EphemeralsDeps;

  constructor(deps: EphemeralsDeps) {
    this.#deps = deps;
  }

  /** Undefined when no such volume is there. */
  find(handle: string): Volume | undefined {
    for (const volume of this.#deps.inventory.volumes.values()) {
      if (volume.ephemeral === true && volume.name === handle && volume.phase === 'ready') return volume;
    }
    return undefined;
  }

  /** Ensures that the volume exists and is mounted at the target. What a failure leaves of a new one is removed. */
  async publish({
    handle,
    range,
    pool,
    poolSelector,
    backend,
    volumeMode,
    fsType,
    encrypted,
    secrets = {},
    ...wanted
  }: PublishEphemeral): Promise<void> {
    const { volumes, attachments, locks, logger } = this.#deps;
    checkName(handle, 'volume_id');
    if (isId(handle)) {
      throw new Fault(
        'invalid',
        `volume_id ${handle} is that of a persistent volume; an ephemeral one has another`,
      );
    }
    using _handle = locks.take(`ephemeral volume ${handle}`);
    const isNew = this.find(handle) === undefined;
    // Crash window: made, not published. The next start removes what is on record without a publication.
    const choice = { pool, poolSelector, backend, volumeMode, fsType, encrypted };
    const { id } = await volumes.create({
      name: handle,
      ...choice,
      range,
      source: undefined,
      ephemeral: true,
    });
    try {
      await attachments.stage(id, wanted.target, { secrets, flags: wanted.flags });
      await attachments.publish({ volumeId: id, stagingPath: wanted.target, ...wanted });
    } catch (error) {
      if (isNew)
        await this.#remove(handle, wanted.target).catch((err: unknown) =>
          logger.warn({ volumeId: id, err }, 'an ephemeral volume could not be removed yet'),
        );
      throw error;
    }
  }

  /** Ensures that the volume is gone, with all that it held; an unknown one is fine. */
  async unpublish(handle: string, target: string): Promise<void> {
    using _handle = this.#deps.locks.take(`ephemeral volume ${handle}`);
    await this.#remove(handle, target);
  }

  /**
   * Removes the volumes of pods that are gone without a word: kubelet tells of every pod's end, but not after its directory was wiped.
   * `podsDir` has one directory a pod; while it is not there itself, nothing is known, and nothing is removed.
   */
  async collect(podsDir: string): Promise<void> {
    if ((await lstat(podsDir).catch(absent)) === undefined) return;
    const { inventory, logger } = this.#deps;
    for (const volume of [...inventory.volumes.values()]) {
      if (volume.ephemeral !== true || volume.phase !== 'ready') continue;
      const [publication] = volume.published;
      const pod = publication === undefined ? undefined : podDirectory(podsDir, publication.target);
      if (publication === undefined || pod === undefined) continue;
      if ((await lstat(pod).catch(absent)) !== undefined) continue;
      logger.info(
        { volumeId: volume.id, handle: volume.name, pod },
        'the pod of an ephemeral volume is gone',
      );
      await this.unpublish(volume.name, publication.target).catch((err: unknown) =>
        logger.warn({ volumeId: volume.id, err }, 'an ephemeral volume could not be removed yet'),
      );
    }
  }

  async #remove(handle: string, target: string): Promise<void> {
    const { volumes, attachments, inventory } = this.#deps;
    const found = this.find(handle);
    if (found === undefined) return;
    const { id } = found;
    await attachments.unpublish(id, target);
    await attachments.unstage(id, target);
    // Published at another target too, which kubelet never does: the last one takes it away.
    if ((inventory.volumes.get(id)?.published.length ?? 0) > 0) return;
    await volumes.delete(id);
  }
}

/** The directory of the pod that `target` belongs to; undefined for a target that is no pod's. */
function podDirectory(podsDir: string, target: string): string | undefined {
  const path = relative(podsDir, target);
  const [pod] = path.split(sep);
  if (isAbsolute(path) || pod === undefined || pod === '' || pod === '..') return undefined;
  return join(podsDir, pod);
}
