import { isAbsolute } from 'node:path';
import { passphraseFor, requireSameKey } from '../../../src/core/volumes/encryption.ts';
import { Fault } from '../../../src/core/fault.ts';
import { parseMountOptions } from '../../../src/core/volumes/mount-options.ts';
import {
  decideContext,
  requireOwnFilesystem,
  requireSelinux,
  requireStagedContext,
} from '../../../src/core/volumes/selinux-context.ts';
import type { ControllerPublication, Publication, Volume } from '../../../src/core/volumes/volume.ts';
import { limitsIo } from '../../../src/core/volumes/volume-attributes.ts';
import { decidePublish, type MountPlan, planMount } from '../../../src/core/volumes/volume-access.ts';
import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';
import type { FilesystemStats } from '../contract/volume-mounts.ts';
import { deriveKey, type VolumeKey } from '../contract/volume-key.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';
import type { ControllerPublications } from './controller-publications.ts';

/** A request to mount a staged volume at a target path (CSI NodePublishVolume). */
export interface PublishRequest extends Publication {
  readonly volumeId: string;
  readonly stagingPath: string;
  /** The group that all files change to, unless the mount is read-only; absent: no change. */
  readonly group?: number | undefined;
}

/** Parameters of CSI NodeStageVolume. */
export interface StageOptions {
  /** Secrets of the call, for an encrypted volume; they are kept nowhere. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Mount options; of these, staging applies the SELinux context of the whole file system. */
  readonly flags?: readonly string[];
}

/** Usage of a volume, as its pods see it. */
export type VolumeStats = FilesystemStats;

/**
 * Attaches volumes to the node and mounts them at targets, as CSI's Node service asks for, and
 * publishes them to the node (CSI ControllerPublishVolume). Every method is idempotent.
 */
export interface StagingService {
  /**
   * Ensures that the volume is staged at `path`. The first passphrase of an encrypted volume
   * becomes its passphrase. Throws `invalid` without a passphrase, or for a context on a shared
   * file system; `precondition` for another passphrase, for a context other than that of a volume
   * in use, and where the kernel has no SELinux.
   */
  stage(volumeId: string, path: string, options?: StageOptions): Promise<void>;
  /** Ensures that the volume is not staged at `path`; an unknown volume is fine. */
  unstage(volumeId: string, path: string): Promise<void>;
  /**
   * Ensures that the volume is mounted at the target. Throws `conflict` if it is mounted there in
   * another way; `precondition` if it is not staged, staged with another context, or in use
   * elsewhere under a single-writer access mode.
   */
  publish(request: PublishRequest): Promise<void>;
  /** Ensures that the volume is not mounted at `target`; an unknown volume or target is fine. */
  unpublish(volumeId: string, target: string): Promise<void>;
  /**
   * Returns the volume's usage. Throws `not-found` if it is not at `path`. Under simple quotas the
   * data that snapshots share counts as used; `availableBytes` is what can still be written.
   */
  stats(volumeId: string, path: string): Promise<VolumeStats>;
  /**
   * Ensures that the volume is published to this node. Throws `conflict` if it is published in
   * another way, `exhausted` if `maxVolumes` others are published.
   */
  controllerPublish(id: string, publication: ControllerPublication, maxVolumes: number): Promise<void>;
  /** Ensures that the volume is not published to this node. Throws `precondition` while mounted. */
  controllerUnpublish(id: string): Promise<void>;
}

/** Returns staging and publications as a service, with its operations run by `runner`. */
export function createStagingService(
  staging: Staging,
  {
    publications,
    runner,
  }: { readonly publications: ControllerPublications; readonly runner: OperationRunner },
): StagingService {
  return {
    stage: (id, path, options) => runner.run('stage', () => staging.stage(id, path, options)),
    unstage: (id, path) => runner.run('unstage', () => staging.unstage(id, path)),
    publish: (request) => runner.run('publish', () => staging.publish(request)),
    unpublish: (id, target) => runner.run('unpublish', () => staging.unpublish(id, target)),
    stats: (id, path) => runner.run('stats', () => staging.stats(id, path)),
    controllerPublish: (id, publication, maxVolumes) =>
      runner.run('controller_publish', () => publications.publish(id, publication, maxVolumes)),
    controllerUnpublish: (id) => runner.run('controller_unpublish', () => publications.unpublish(id)),
  };
}

/** Stages and publishes volumes. Nothing is mounted at the staging path itself. */
export class Staging {
  readonly #deps: OperationDeps;
  /** One key derivation at a time: each takes 32 MiB of memory. */
  readonly #derivations = new KeyedLock();

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /** See `StagingService.stage`. */
  async stage(
    volumeId: string,
    path: string,
    { secrets = {}, flags = [] }: StageOptions = {},
  ): Promise<void> {
    checkPath(path, 'staging_target_path');
    const { ledger, locks } = this.#deps;
    this.#get(volumeId);
    using _lock = locks.take(volumeId);
    const volume = this.#get(volumeId);
    // A pool that is not open is the first thing to report: before a missing passphrase.
    ledger.pool(volume.pool);
    const isNew = !volume.staged.includes(path);
    const selinuxContext = await this.#planContext(volume, path, flags);
    const key = await this.#keyOf(volume, secrets);
    const staged: Volume = {
      ...volume,
      selinuxContext,
      staged: isNew ? [...volume.staged, path] : volume.staged,
      ...(volume.encryption &&
        key && { encryption: { ...volume.encryption, keyIdentifier: key.identifier } }),
    };
    try {
      await this.#attach(volume, staged, key);
    } finally {
      key?.bytes.fill(0);
    }
  }

  /** Saves the record and attaches the volume; restores both after a failure. */
  async #attach(volume: Volume, staged: Volume, key: VolumeKey | undefined): Promise<void> {
    const { records, ledger, limiter } = this.#deps;
    const { mounts } = ledger.pool(volume.pool);
    const isNew = staged.staged.length > volume.staged.length;
    const isRelabelled = staged.selinuxContext !== volume.selinuxContext;
    // Crash window: detached, its former context in the record. Recovery attaches it with that
    // context, and the repeated NodeStageVolume relabels it.
    if (isRelabelled) await mounts.detach(volume);
    // Crash window: recorded as staged, perhaps not attached. Recovery attaches staged volumes.
    if (isNew || isRelabelled) await records.saveVolume(staged);
    try {
      await mounts.attach(staged, key);
      // Before a pod writes: staging fails if a requested I/O limit cannot be set.
      if (limitsIo(volume.attributes ?? {})) await limiter.refresh();
    } catch (error) {
      // Killed here, the volume is still recorded as staged, and recovery attaches it.
      if (volume.staged.length === 0 || isRelabelled) await mounts.detach(staged);
      if (isNew || isRelabelled) await records.saveVolume(volume);
      throw error;
    }
  }

  /** Returns the volume's context once staged. A volume not in use may change its context. */
  async #planContext(volume: Volume, path: string, flags: readonly string[]): Promise<string | undefined> {
    const { context } = parseMountOptions(flags);
    await this.#requirePossible(volume, context);
    if (context === volume.selinuxContext) return context;
    const inUseAt = (await this.#mountedAt(volume)) ?? volume.staged.find((other) => other !== path);
    return decideContext(volume, context, inUseAt);
  }

  async #requirePossible(volume: Volume, context: string | undefined): Promise<void> {
    if (context === undefined) return;
    const { ledger, selinux } = this.#deps;
    requireOwnFilesystem(volume, ledger.pool(volume.pool).backend.features, context);
    requireSelinux(volume.id, context, await selinux.read());
  }

  async #keyOf(volume: Volume, secrets: Readonly<Record<string, string>>): Promise<VolumeKey | undefined> {
    const passphrase = passphraseFor(volume, secrets);
    if (volume.encryption === undefined || passphrase === undefined) return undefined;
    const key = await this.#derivations.run('key', () =>
      deriveKey(passphrase, volume.encryption?.salt ?? ''),
    );
    requireSameKey(volume, key.identifier);
    return key;
  }

  /** See `StagingService.unstage`. */
  async unstage(volumeId: string, path: string): Promise<void> {
    const { records, ledger, locks } = this.#deps;
    if (!records.volumes.has(volumeId)) return;
    using _lock = locks.take(volumeId);
    const volume = records.volumes.get(volumeId);
    if (!volume?.staged.includes(path)) return;
    const staged = volume.staged.filter((other) => other !== path);
    // Crash window: detached, recorded as staged. Recovery attaches it; NodeUnstageVolume is
    // repeated.
    if (staged.length === 0) {
      await this.#requireUnpublished(volume);
      await ledger.pool(volume.pool).mounts.detach(volume);
    }
    const selinuxContext = staged.length === 0 ? undefined : volume.selinuxContext;
    await records.saveVolume({ ...volume, staged, selinuxContext });
    if (staged.length === 0) await this.#deps.limiter.lift(volume);
  }

  /** See `StagingService.publish`. */
  async publish({ volumeId, stagingPath, group, ...publication }: PublishRequest): Promise<void> {
    checkPath(publication.target, 'target_path');
    const { locks, ledger, logger } = this.#deps;
    const plan = planMount(publication.flags, isReadonly(publication));
    this.#get(volumeId);
    using _lock = locks.take(volumeId);
    const volume = this.#get(volumeId);
    requireStagedAt(volume, stagingPath);
    const { context } = parseMountOptions(publication.flags);
    await this.#requirePossible(volume, context);
    requireStagedContext(volume, context);
    const live = await this.#livePublications(volume, publication.target);
    requireSameDirection(volume, live, publication);
    const decision = decidePublish(live, publication);
    if (group !== undefined && !plan.readonly) {
      await ledger.pool(volume.pool).mounts.ensureGroup(volume, group);
    }
    const published = decision === 'publish' ? [...live, publication] : undefined;
    await this.#mount(volume, { target: publication.target, plan, live, published });
    logger.debug({ volumeId, target: publication.target, readonly: plan.readonly }, 'volume published');
  }

  async #mount(
    volume: Volume,
    {
      target,
      plan,
      live,
      published,
    }: {
      readonly target: string;
      readonly plan: MountPlan;
      readonly live: readonly Publication[];
      /** The publications to record; undefined if the target is recorded already. */
      readonly published: readonly Publication[] | undefined;
    },
  ): Promise<void> {
    const { records, ledger } = this.#deps;
    if (published !== undefined) await records.saveVolume({ ...volume, published });
    try {
      // Crash window: recorded as published, perhaps not mounted. A repeated call mounts or
      // unmounts it.
      await ledger.pool(volume.pool).mounts.mount(volume, target, plan);
    } catch (error) {
      await records.saveVolume({ ...volume, published: live });
      throw error;
    }
  }

  /**
   * Returns the publications that are mounted, and that of `target`: a reboot unmounts all others.
   */
  async #livePublications(volume: Volume, target: string): Promise<readonly Publication[]> {
    const { mounts } = this.#deps.ledger.pool(volume.pool);
    const live: Publication[] = [];
    for (const publication of volume.published) {
      if (publication.target === target || (await mounts.isMounted(volume, publication.target))) {
        live.push(publication);
      }
    }
    return live;
  }

  /** See `StagingService.unpublish`. */
  async unpublish(volumeId: string, target: string): Promise<void> {
    checkPath(target, 'target_path');
    const { records, ledger, locks, logger } = this.#deps;
    if (!records.volumes.has(volumeId)) return;
    using _lock = locks.take(volumeId);
    const volume = records.volumes.get(volumeId);
    if (volume === undefined) return;
    await ledger.pool(volume.pool).mounts.unmount(volume, target);
    if (!volume.published.some((publication) => publication.target === target)) return;
    const published = volume.published.filter((publication) => publication.target !== target);
    await records.saveVolume({ ...volume, published });
    logger.debug({ volumeId, target }, 'volume unpublished');
  }

  /** See `StagingService.stats`. */
  async stats(volumeId: string, path: string): Promise<VolumeStats> {
    const volume = this.#get(volumeId);
    const { backend, mounts } = this.#deps.ledger.pool(volume.pool);
    const isHere =
      isAbsolute(path) && (volume.staged.includes(path) || (await mounts.isMounted(volume, path)));
    if (!isHere) {
      throw new Fault('not-found', `volume ${volumeId} is not at ${JSON.stringify(path)}`, {
        fields: { volumeId },
      });
    }
    const own = await mounts.stats(volume);
    if (own !== undefined) return own;
    const charged = (await backend.usage()).volumes.get(volumeId)?.usedBytes ?? 0n;
    const left = this.#deps.ledger.limitOf(volume) - charged;
    return {
      totalBytes: volume.sizeBytes,
      usedBytes: clamp(charged, volume.sizeBytes),
      availableBytes: clamp(left, volume.sizeBytes),
    };
  }

  /**
   * Detaching removes the key of a published encrypted volume, and a mounted context cannot change.
   */
  async #requireUnpublished(volume: Volume): Promise<void> {
    if (volume.encryption === undefined && volume.selinuxContext === undefined) return;
    const target = await this.#mountedAt(volume);
    if (target === undefined) return;
    const kind = volume.encryption === undefined ? 'volume' : 'encrypted volume';
    throw new Fault('precondition', `${kind} ${volume.id} is in use at ${target}; unpublish it first`, {
      fields: { volumeId: volume.id, target },
    });
  }

  /** Returns a target at which the volume is mounted now; undefined for none. */
  async #mountedAt(volume: Volume): Promise<string | undefined> {
    const { mounts } = this.#deps.ledger.pool(volume.pool);
    for (const { target } of volume.published) {
      if (await mounts.isMounted(volume, target)) return target;
    }
    return undefined;
  }

  #get(id: string): Volume {
    const volume = this.#deps.records.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }
}

function isReadonly({ readonly, accessMode }: Publication): boolean {
  return readonly || accessMode === 'SINGLE_NODE_READER_ONLY';
}

function requireStagedAt({ id, staged }: Volume, stagingPath: string): void {
  if (staged.includes(stagingPath)) return;
  throw new Fault(
    'precondition',
    `volume ${id} is not staged at ${JSON.stringify(stagingPath)}; stage it first`,
    { fields: { volumeId: id } },
  );
}

/** A block device is read-only at all of its targets or at none. */
function requireSameDirection(
  { id, volumeMode }: Volume,
  live: readonly Publication[],
  publication: Publication,
): void {
  const other = live.find(({ target }) => target !== publication.target);
  if (volumeMode !== 'Block' || other === undefined || isReadonly(other) === isReadonly(publication)) return;
  throw new Fault(
    'precondition',
    `Block volume ${id} is published ${isReadonly(other) ? 'read-only' : 'writable'} at ${other.target}; it cannot be ${isReadonly(other) ? 'writable' : 'read-only'} at ${publication.target} at the same time`,
    { fields: { volumeId: id, target: publication.target } },
  );
}

function checkPath(path: string, field: string): void {
  if (!isAbsolute(path) || path.includes('\0')) {
    throw new Fault(
      'invalid',
      `${field} must be an absolute path, found ${JSON.stringify(path.slice(0, 128))}`,
    );
  }
}

function clamp(bytes: bigint, maxBytes: bigint): bigint {
  if (bytes < 0n) return 0n;
  return bytes > maxBytes ? maxBytes : bytes;
}
