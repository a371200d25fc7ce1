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
import type { Publication, Volume } from '../../../src/core/volumes/volume.ts';
import { limitsIo } from '../../../src/core/volumes/volume-attributes.ts';
import { decidePublish, planMount } from '../../../src/core/volumes/volume-access.ts';
import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';
import type { FilesystemStats } from '../contract/volume-mounts.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';
import { deriveKey, type VolumeKey } from '../contract/volume-key.ts';

export interface Publish extends Publication {
  readonly volumeId: string;
  readonly stagingPath: string;
  /** The group that all files are to be of, unless it is published read-only; absent: they stay as they are. */
  readonly group?: number | undefined;
}

/** What comes with the call that stages a volume. */
export interface Stage {
  readonly secrets?: Readonly<Record<string, string>>;
  /** Of the mount options, the one that concerns the whole file system: its SELinux context. */
  readonly flags?: readonly string[];
}

/** How full a volume is, as a workload sees it. */
export type VolumeStats = FilesystemStats;

/** Shows volumes to workloads. Staging attaches a volume to the node; nothing is mounted at the staging path itself. */
export class Attachments {
  readonly #deps: OperationDeps;
  /** One at a time: each takes its memory. */
  readonly #derivations = new KeyedLock();

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /**
   * Ensures that the volume is staged at `path`. An encrypted one needs its passphrase among `secrets`, or it throws `invalid`; the first one
   * is its passphrase for good, and for another it throws `precondition`. So it does for a context while the volume is in use with another one,
   * and where the kernel has none; for one on a file system that is not its own it throws `invalid`.
   */
  async stage(volumeId: string, path: string, { secrets = {}, flags = [] }: Stage = {}): Promise<void> {
    checkPath(path, 'staging_target_path');
    const { inventory, ledger, locks, limiter } = this.#deps;
    this.#get(volumeId);
    using _lock = locks.take(volumeId);
    const volume = this.#get(volumeId);
    const { mounts } = ledger.pool(volume.pool);
    // Crash window: on record, perhaps not attached. The next start attaches what is staged.
    const isNew = !volume.staged.includes(path);
    const selinuxContext = await this.#planContext(volume, path, flags);
    const isRelabelled = selinuxContext !== volume.selinuxContext;
    const key = await this.#keyOf(volume, secrets);
    const staged: Volume = {
      ...volume,
      selinuxContext,
      staged: isNew ? [...volume.staged, path] : volume.staged,
      ...(volume.encryption &&
        key && { encryption: { ...volume.encryption, keyIdentifier: key.identifier } }),
    };
    // Killed in between, it is detached with its former context on record: the next start attaches it with that one, and staging comes again.
    if (isRelabelled) await mounts.detach(volume);
    if (isNew || isRelabelled) await inventory.saveVolume(staged);
    try {
      await mounts.attach(staged, key);
      // Before anybody writes to it: staging fails where a limit that is asked for cannot be had.
      if (limitsIo(volume.attributes ?? {})) await limiter.refresh();
    } catch (error) {
      // Killed in between, it is still on record, and the next start attaches it again: as if it had been killed before it failed.
      if (volume.staged.length === 0 || isRelabelled) await mounts.detach(staged);
      if (isNew || isRelabelled) await inventory.saveVolume(volume);
      throw error;
    } finally {
      key?.bytes.fill(0);
    }
  }

  /** The context that the volume is to have. One that nobody uses takes what it is asked for: it may be staged since before a reboot. */
  async #planContext(volume: Volume, path: string, flags: readonly string[]): Promise<string | undefined> {
    const { context } = parseMountOptions(flags);
    await this.#requirePossible(volume, context);
    if (context === volume.selinuxContext) return context;
    const heldAt = (await this.#shownAt(volume)) ?? volume.staged.find((other) => other !== path);
    return decideContext(volume, context, heldAt);
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

  /** Ensures that it is not staged at `path`; an unknown volume or path is fine. */
  async unstage(volumeId: string, path: string): Promise<void> {
    const { inventory, ledger, locks } = this.#deps;
    if (!inventory.volumes.has(volumeId)) return;
    using _lock = locks.take(volumeId);
    const volume = inventory.volumes.get(volumeId);
    if (!volume?.staged.includes(path)) return;
    const staged = volume.staged.filter((other) => other !== path);
    // Crash window: detached, still on record. The next start attaches it again, and unstaging comes again.
    if (staged.length === 0) {
      await this.#requireUnpublished(volume);
      await ledger.pool(volume.pool).mounts.detach(volume);
    }
    const selinuxContext = staged.length === 0 ? undefined : volume.selinuxContext;
    await inventory.saveVolume({ ...volume, staged, selinuxContext });
    if (staged.length === 0) await this.#deps.limiter.lift(volume);
  }

  /**
   * Ensures that the volume is mounted at the target. Throws `conflict` when it is there in another way, `precondition` when it is not staged,
   * staged with another context, or in use elsewhere and to be used by one only. With a group its files are that group's before they are shown.
   */
  async publish({ volumeId, stagingPath, group, ...wanted }: Publish): Promise<void> {
    checkPath(wanted.target, 'target_path');
    const { inventory, ledger, locks, logger } = this.#deps;
    const plan = planMount(wanted.flags, wanted.readonly || wanted.accessMode === 'SINGLE_NODE_READER_ONLY');
    this.#get(volumeId);
    using _lock = locks.take(volumeId);
    const volume = this.#get(volumeId);
    if (!volume.staged.includes(stagingPath)) {
      throw new Fault(
        'precondition',
        `volume ${volumeId} is not staged at ${JSON.stringify(stagingPath)}; stage it first`,
        {
          fields: { volumeId },
        },
      );
    }
    const { context } = parseMountOptions(wanted.flags);
    await this.#requirePossible(volume, context);
    requireStagedContext(volume, context);
    const { mounts } = ledger.pool(volume.pool);
    const live: Publication[] = [];
    // A reboot takes mounts away and leaves their records; those must not keep a workload out.
    for (const publication of volume.published) {
      if (publication.target === wanted.target || (await mounts.isMounted(volume, publication.target))) {
        live.push(publication);
      }
    }
    requireOneWay(volume, live, wanted);
    const decision = decidePublish(live, wanted);
    if (group !== undefined && !plan.readonly) await mounts.ensureGroup(volume, group);
    if (decision === 'publish') {
      await inventory.saveVolume({ ...volume, published: [...live, wanted] });
    }
    try {
      // Crash window: on record, perhaps not mounted. Publishing or unpublishing again puts it right.
      await mounts.mount(volume, wanted.target, plan);
    } catch (error) {
      await inventory.saveVolume({ ...volume, published: live });
      throw error;
    }
    logger.debug({ volumeId, target: wanted.target, readonly: plan.readonly }, 'volume published');
  }

  /** Ensures that the volume is not mounted at `target`; an unknown volume or target is fine. */
  async unpublish(volumeId: string, target: string): Promise<void> {
    checkPath(target, 'target_path');
    const { inventory, ledger, locks, logger } = this.#deps;
    if (!inventory.volumes.has(volumeId)) return;
    using _lock = locks.take(volumeId);
    const volume = inventory.volumes.get(volumeId);
    if (volume === undefined) return;
    await ledger.pool(volume.pool).mounts.unmount(volume, target);
    if (!volume.published.some((publication) => publication.target === target)) return;
    const published = volume.published.filter((publication) => publication.target !== target);
    await inventory.saveVolume({ ...volume, published });
    logger.debug({ volumeId, target }, 'volume unpublished');
  }

  /**
   * How full the volume is. Throws `not-found` when it is not at `path`. Under simple quotas a snapshot's share counts as used; what is
   * available is always what may still be written.
   */
  async stats(volumeId: string, path: string): Promise<VolumeStats> {
    const volume = this.#get(volumeId);
    const { backend, mounts } = this.#deps.ledger.pool(volume.pool);
    const here = isAbsolute(path) && (volume.staged.includes(path) || (await mounts.isMounted(volume, path)));
    if (!here) {
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

  /** With the key gone, what is still published could not be read; and a file system that something shows keeps its context. */
  async #requireUnpublished(volume: Volume): Promise<void> {
    if (volume.encryption === undefined && volume.selinuxContext === undefined) return;
    const target = await this.#shownAt(volume);
    if (target === undefined) return;
    const kind = volume.encryption === undefined ? 'volume' : 'encrypted volume';
    throw new Fault('precondition', `${kind} ${volume.id} is in use at ${target}; unpublish it first`, {
      fields: { volumeId: volume.id, target },
    });
  }

  /** A target that shows the volume now; undefined for none. */
  async #shownAt(volume: Volume): Promise<string | undefined> {
    const { mounts } = this.#deps.ledger.pool(volume.pool);
    for (const { target } of volume.published) {
      if (await mounts.isMounted(volume, target)) return target;
    }
    return undefined;
  }

  #get(id: string): Volume {
    const volume = this.#deps.inventory.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }
}

/** A device is read-only for all or for none. */
function requireOneWay({ id, volumeMode }: Volume, live: readonly Publication[], wanted: Publication): void {
  const isReadonly = ({ readonly, accessMode }: Publication): boolean =>
    readonly || accessMode === 'SINGLE_NODE_READER_ONLY';
  const other = live.find(({ target }) => target !== wanted.target);
  if (volumeMode !== 'Block' || other === undefined || isReadonly(other) === isReadonly(wanted)) return;
  throw new Fault(
    'precondition',
    `Block volume ${id} is published ${isReadonly(other) ? 'read-only' : 'writable'} at ${other.target}; it cannot be the other way at ${wanted.target} meanwhile`,
    { fields: { volumeId: id, target: wanted.target } },
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

function clamp(bytes: bigint, most: bigint): bigint {
  if (bytes < 0n) return 0n;
  return bytes > most ? most : bytes;
}
