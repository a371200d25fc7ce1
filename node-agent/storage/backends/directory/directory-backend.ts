import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, stat, statfs } from 'node:fs/promises';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../../src/core/fault.ts';
import type { PoolUsage, VolumeUsage } from '../../../../src/core/pools/pool-capacity.ts';
import { isVolumeProject, parseProjectFiles, pickProject } from '../../../../src/core/volumes/project-id.ts';
import type { ContentSource, VolumeShape } from '../../../../src/core/volumes/volume.ts';
import { checkedId, isId } from '../../../../src/core/volumes/volume-name.ts';
import type { Logger } from '../../../../src/runtime/logger.ts';
import { SharedRun } from '../../../../src/runtime/shared-run.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { SysError } from '../../../linux/libc/libc.ts';
import type { VolumeBackend, SnapshotCreation } from '../../contract/volume-backend.ts';
import type { FilesystemStats } from '../../contract/volume-mounts.ts';
import { filesystemStats } from '../../mounts/filesystem-stats.ts';
import { type RemovalBudget, unlimitedRemoval } from '../../../linux/files/removal-budget.ts';
import { removeTree } from '../../../linux/files/remove-tree.ts';
import { ENTRY_BYTES, removeTreeWithin } from '../../../linux/files/remove-within.ts';
import { absent } from '../../../linux/files/absent.ts';

export interface DirectoryBackendOptions {
  readonly pool: string;
  /** Open descriptor of the pool's directory. */
  readonly root: number;
  /** Enforcement is `project` where the kernel enforces project quotas, else `none`. */
  readonly features: BackendFeatures;
}

export interface DirectoryBackendDeps {
  readonly kernel: Kernel;
  readonly logger: Logger;
}

const VOLUMES = 'volumes';
/**
 * Directory that pods see. Its parent is inaccessible to pods, so they cannot change its project.
 */
const DATA = 'data';
/** Prefix of incomplete directories; `collect` removes those that a crash left. */
const UNFINISHED = 'new-';
const TRASH = 'trash-';
/** Other users hit ids of the range by chance only: more misses than this are a conflict. */
const CLAIM_ATTEMPTS = 16;
/** The parent directory is charged to the volume's project, on top of the volume's own inodes. */
const OWN_INODES = 1n;

/**
 * Keeps volumes as directories with a project quota. A directory with its final name is complete.
 */
export class DirectoryBackend implements VolumeBackend {
  readonly features: BackendFeatures;
  readonly #options: DirectoryBackendOptions;
  readonly #deps: DirectoryBackendDeps;
  /** Project id of each directory in `volumes`, by name; 0 for none. */
  readonly #projects = new Map<string, number>();
  /** Project ids that are being claimed. */
  readonly #claimed = new Set<number>();
  /** Names of directories that are being created, which `collect` must keep. */
  readonly #inProgress = new Set<string>();
  readonly #sync: SharedRun<void>;

  constructor(options: DirectoryBackendOptions, deps: DirectoryBackendDeps) {
    this.features = options.features;
    this.#options = options;
    this.#deps = deps;
    this.#sync = new SharedRun(() => deps.kernel.call('syncFilesystem', options.root));
  }

  /** Lists volumes without a project, created while sizes were not enforced. */
  async listUnenforced(): Promise<readonly string[]> {
    const { volumes } = await this.list();
    const found: string[] = [];
    for (const id of volumes) if (!isVolumeProject((await this.#projectOf(id)) ?? 0)) found.push(id);
    return found;
  }

  async ensureVolume({ id }: VolumeShape, source: ContentSource | undefined): Promise<void> {
    if (source !== undefined) throw this.#refuseCopy();
    const name = checkedId(id);
    if ((await stat(this.#path(name)).catch(absent)) !== undefined) return;
    const unfinished = `${UNFINISHED}${name}`;
    this.#inProgress.add(unfinished);
    try {
      await removeTree(this.#path(unfinished));
      await mkdir(this.#path(unfinished), { mode: 0o700 });
      const project = await this.#claimProject(unfinished);
      await mkdir(`${this.#path(unfinished)}/${DATA}`, { mode: 0o755 });
      await this.#sync.run();
      await rename(this.#path(unfinished), this.#path(name));
      await this.#syncDirectory();
      this.#projects.set(name, project);
    } catch (error) {
      await removeTree(this.#path(unfinished));
      throw error;
    } finally {
      this.#inProgress.delete(unfinished);
    }
  }

  async ensureSnapshot(): Promise<void> {
    throw this.#refuseCopy();
  }

  async prepareSnapshots(): Promise<SnapshotCreation> {
    throw this.#refuseCopy();
  }

  async setLimit({ id, attributes }: VolumeShape, limitBytes: bigint): Promise<void> {
    const { kernel, logger } = this.#deps;
    const { root, pool } = this.#options;
    const project = await this.#projectOf(checkedId(id));
    if (project === undefined) {
      throw new Fault('not-found', `the data of volume ${id} is not in its pool`, {
        fields: { volumeId: id },
      });
    }
    if (this.features.enforcement === 'none') return;
    if (!isVolumeProject(project)) {
      // Charging its existing files would race with the pod. The pool's health reports it as well.
      logger.error({ pool, volumeId: id }, 'the volume has no project; its size is not enforced');
      return;
    }
    await kernel.call('setProject', root, dataPathOf(id), project);
    const inodes = attributes?.quotaInodes === undefined ? 0n : attributes.quotaInodes + OWN_INODES;
    await kernel.call('setProjectLimits', root, project, { bytes: limitBytes, inodes });
    await this.#sync.run();
  }

  async discard(kind: ContentSource['kind'], id: string): Promise<void> {
    if (kind !== 'volume') return;
    const name = checkedId(id);
    try {
      await rename(this.#path(name), this.#path(`${TRASH}${name}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    this.#projects.delete(name);
    await this.#syncDirectory();
  }

  async collect(budget: RemovalBudget = unlimitedRemoval()): Promise<number> {
    let removed = 0;
    for (const name of await readdir(this.#path())) {
      const isLeftover = name.startsWith(UNFINISHED) && !this.#inProgress.has(name);
      if (!isLeftover && !name.startsWith(TRASH)) continue;
      if (budget.isSpent) {
        budget.postpone();
        break;
      }
      const charged = await this.#release(name);
      if (charged !== undefined && charged <= budget.leftBytes) {
        await removeTree(this.#path(name));
        budget.spend(charged);
      } else if (!(await removeTreeWithin(this.#path(name), budget))) {
        break;
      }
      if (!isLeftover) removed += 1;
    }
    return removed;
  }

  /** Without quotas a volume counts with its full size on top of the used space. */
  async usage(): Promise<PoolUsage> {
    const { blocks, bfree, bavail, bsize } = await statfs(this.#path(), { bigint: true });
    const volumes = new Map<string, VolumeUsage>();
    const byProject = new Map<number, string>();
    for (const id of (await this.list()).volumes) {
      const project = await this.#projectOf(id);
      if (project === undefined) continue;
      volumes.set(id, { usedBytes: 0n, limitBytes: undefined });
      if (isVolumeProject(project)) byProject.set(project, id);
    }
    let otherBytes = (blocks - bfree) * bsize;
    if (this.features.enforcement === 'project') {
      const { root } = this.#options;
      const found = await this.#deps.kernel.call('readProjectQuotas', root, [...byProject.keys()]);
      for (const { project, usedBytes, limitBytes, limitInodes: inodes } of found) {
        const limitInodes = inodes === undefined ? undefined : inodes - OWN_INODES;
        volumes.set(byProject.get(project) ?? '', { usedBytes, limitBytes, limitInodes });
        otherBytes -= usedBytes;
      }
    }
    return {
      totalBytes: blocks * bsize,
      freeBytes: bavail * bsize,
      volumes,
      otherBytes: otherBytes > 0n ? otherBytes : 0n,
    };
  }

  async list(): Promise<{ volumes: string[]; snapshots: string[] }> {
    return { volumes: (await readdir(this.#path())).filter(isId), snapshots: [] };
  }

  /** Returns the usage of the volume's project; of the whole file system without a project. */
  async stats(id: string): Promise<FilesystemStats | undefined> {
    const found = await statfs(this.#path(checkedId(id)), { bigint: true }).catch(absent);
    return found && filesystemStats(found);
  }

  /**
   * Assigns an unused project id to the new directory `name`; returns 0 if the file system has no
   * projects. The id is claimed by charging the directory to it: if more is charged, another user
   * has it, and another id is tried.
   */
  async #claimProject(name: string): Promise<number> {
    const { kernel } = this.#deps;
    const { root, pool } = this.#options;
    const taken = await this.#takenProjects();
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt += 1) {
      const project = pickProject(randomBytes(4).readUInt32LE(), taken);
      taken.add(project);
      this.#claimed.add(project);
      try {
        if (!(await kernel.call('setProject', root, `${VOLUMES}/${name}`, project))) return 0;
        if (this.features.enforcement === 'none') return project;
        const [quota] = await kernel.call('readProjectQuotas', root, [project]);
        const isFree = quota?.limitBytes === undefined && quota?.limitInodes === undefined;
        if (isFree && quota?.usedInodes === 1n) return project;
      } finally {
        this.#claimed.delete(project);
      }
    }
    throw new Fault(
      'exhausted',
      `pool ${pool} found no unused project id in ${CLAIM_ATTEMPTS} attempts; other software uses the same range on its file system`,
      { fields: { pool } },
    );
  }

  async #takenProjects(): Promise<Set<number>> {
    const [projects, projid] = await Promise.all(
      ['/etc/projects', '/etc/projid'].map((file) => readFile(file, 'utf8').catch(absent)),
    );
    const taken = parseProjectFiles(projects ?? '', projid ?? '');
    for (const name of await readdir(this.#path())) {
      const project = await this.#projectOf(name);
      if (project !== undefined) taken.add(project);
    }
    for (const project of this.#claimed) taken.add(project);
    return taken;
  }

  /**
   * Removes the limits of a directory that is about to be removed, which frees its project id.
   * Returns the cost of its removal in bytes; undefined without quotas.
   */
  async #release(name: string): Promise<bigint | undefined> {
    const { kernel } = this.#deps;
    const { root } = this.#options;
    const project = await this.#projectOf(name);
    this.#projects.delete(name);
    if (this.features.enforcement === 'none' || project === undefined || !isVolumeProject(project))
      return undefined;
    await kernel.call('setProjectLimits', root, project, { bytes: 0n, inodes: 0n });
    const [charged] = await kernel.call('readProjectQuotas', root, [project]);
    return charged && charged.usedBytes + charged.usedInodes * ENTRY_BYTES;
  }

  /** Returns undefined for an absent directory. */
  async #projectOf(name: string): Promise<number | undefined> {
    const known = this.#projects.get(name);
    if (known !== undefined) return known;
    try {
      const found = await this.#deps.kernel.call('readProject', this.#options.root, `${VOLUMES}/${name}`);
      if (isId(name)) this.#projects.set(name, found);
      return found;
    } catch (error) {
      // Concurrent operations create, rename and remove directories.
      if (error instanceof SysError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #syncDirectory(): Promise<void> {
    await using directory = await open(this.#path(), 'r');
    await directory.sync();
  }

  #refuseCopy(): Fault {
    const { pool } = this.#options;
    return new Fault('unsupported', `pool ${pool} (directory) does not support snapshots and clones`, {
      fields: { pool },
    });
  }

  #path(name = ''): string {
    return `/proc/self/fd/${this.#options.root}/${VOLUMES}/${name}`;
  }
}

/** Returns the path of a volume's data, below the pool's root. */
export function dataPathOf(id: string): string {
  return `${VOLUMES}/${checkedId(id)}/${DATA}`;
}
