import { lstat } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import type { Publication, Volume } from '../../../src/core/volumes/volume.ts';
import { checkName, isId } from '../../../src/core/volumes/volume-name.ts';
import type { PoolChoice } from '../../../src/core/volumes/volume-request.ts';
import type { SizeRange } from '../../../src/core/volumes/volume-size.ts';
import { absent } from '../../linux/files/absent.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';
import type { Volumes } from '../volumes/volumes.ts';
import type { Staging } from './staging.ts';

/** A request for a volume that is created for one pod when it is published, and deleted with it. */
export interface EphemeralRequest extends Publication, PoolChoice {
  /** The caller's handle of the volume, which becomes its name; it must not satisfy `isId`. */
  readonly handle: string;
  readonly range: SizeRange;
  /** The group that all files change to, as in `PublishRequest`. */
  readonly group?: number | undefined;
  /** Secrets of the call, for an encrypted volume. */
  readonly secrets?: Readonly<Record<string, string>>;
}

/** The CSI ephemeral inline volumes of one node. Every method is idempotent. */
export interface EphemeralVolumeService {
  /** Ensures that the volume exists and is mounted at the target. Deletes a new one on failure. */
  publish(request: EphemeralRequest): Promise<void>;
  /** Ensures that the volume does not exist, with its data; an unknown handle is fine. */
  unpublish(handle: string, target: string): Promise<void>;
  /** Returns the volume, or undefined. */
  find(handle: string): Volume | undefined;
  /**
   * Deletes the volumes of pods without a directory in `podsDir`: kubelet does not unpublish
   * volumes of pods whose directory was wiped. Does nothing while `podsDir` itself does not exist.
   */
  collect(podsDir: string): Promise<void>;
}

/** Returns `ephemerals` as a service, with its operations run by `runner`. */
export function createEphemeralVolumeService(
  ephemerals: EphemeralVolumes,
  { runner }: { readonly runner: OperationRunner },
): EphemeralVolumeService {
  return {
    publish: (request) => runner.run('publish_ephemeral', () => ephemerals.publish(request)),
    unpublish: (handle, target) =>
      runner.run('unpublish_ephemeral', () => ephemerals.unpublish(handle, target)),
    find: (handle) => ephemerals.find(handle),
    collect: (podsDir) => runner.track(() => ephemerals.collect(podsDir)),
  };
}

export interface EphemeralVolumesDeps extends OperationDeps {
  readonly volumes: Volumes;
  readonly staging: Staging;
}

/** Creates, mounts and deletes ephemeral volumes. They are staged at their target. */
export class EphemeralVolumes implements EphemeralVolumeService {
  readonly #deps: EphemeralVolumesDeps;

  constructor(deps: EphemeralVolumesDeps) {
    this.#deps = deps;
  }

  find(handle: string): Volume | undefined {
    for (const volume of this.#deps.records.volumes.values()) {
      if (volume.ephemeral === true && volume.name === handle && volume.phase === 'ready') return volume;
    }
    return undefined;
  }

  async publish({ handle, range, secrets = {}, group, ...request }: EphemeralRequest): Promise<void> {
    const { volumes, staging, locks, logger } = this.#deps;
    checkName(handle, 'volume_id');
    if (isId(handle)) {
      throw new Fault(
        'invalid',
        `volume_id ${handle} has the form of a persistent volume's id; an ephemeral volume needs another handle`,
      );
    }
    using _handle = locks.take(`ephemeral volume ${handle}`);
    const isNew = this.find(handle) === undefined;
    const { target, readonly, flags, accessMode, ...choice } = request;
    // Crash window: created, not published. Recovery removes ephemeral volumes without a
    // publication.
    const { id } = await volumes.create({
      name: handle,
      ...choice,
      range,
      source: undefined,
      ephemeral: true,
    });
    try {
      await staging.stage(id, target, { secrets, flags });
      const publication = { target, readonly, flags, accessMode, group };
      await staging.publish({ volumeId: id, stagingPath: target, ...publication });
    } catch (error) {
      if (isNew) await this.#remove(handle, target).catch((err: unknown) => logFailure(err, id, logger));
      throw error;
    }
  }

  async unpublish(handle: string, target: string): Promise<void> {
    using _handle = this.#deps.locks.take(`ephemeral volume ${handle}`);
    await this.#remove(handle, target);
  }

  async collect(podsDir: string): Promise<void> {
    if ((await lstat(podsDir).catch(absent)) === undefined) return;
    const { records, logger } = this.#deps;
    for (const volume of [...records.volumes.values()]) {
      if (volume.ephemeral !== true || volume.phase !== 'ready') continue;
      const [publication] = volume.published;
      const pod = publication === undefined ? undefined : podDirectory(podsDir, publication.target);
      if (publication === undefined || pod === undefined) continue;
      if ((await lstat(pod).catch(absent)) !== undefined) continue;
      logger.info({ volumeId: volume.id, handle: volume.name, pod }, 'pod of ephemeral volume not found');
      await this.unpublish(volume.name, publication.target).catch((err: unknown) =>
        logFailure(err, volume.id, logger),
      );
    }
  }

  async #remove(handle: string, target: string): Promise<void> {
    const { volumes, staging, records } = this.#deps;
    const found = this.find(handle);
    if (found === undefined) return;
    const { id } = found;
    await staging.unpublish(id, target);
    await staging.unstage(id, target);
    // CSI allows more targets, although kubelet uses one: the last one to go deletes the volume.
    if ((records.volumes.get(id)?.published.length ?? 0) > 0) return;
    await volumes.delete(id);
  }
}

function logFailure(err: unknown, volumeId: string, logger: OperationDeps['logger']): void {
  logger.warn({ volumeId, err }, 'cannot remove an ephemeral volume; retrying later');
}

/** Returns the directory of the pod that `target` belongs to; undefined for a target of no pod. */
function podDirectory(podsDir: string, target: string): string | undefined {
  const path = relative(podsDir, target);
  const [pod] = path.split(sep);
  if (isAbsolute(path) || pod === undefined || pod === '' || pod === '..') return undefined;
  return join(podsDir, pod);
}
