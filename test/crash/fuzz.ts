import assert from 'node:assert/strict';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../../src/core/fault.ts';
import { MortalStorage } from './mortal-storage.ts';
import { type Form, MIB, VOLUME_BYTES } from './scene.ts';

export interface FuzzOptions {
  readonly directory: string;
  readonly form: Form;
  readonly seed: number;
  /** Number of acknowledged operations before the end. */
  readonly operations: number;
  readonly volumes: number;
}

/** The acknowledged state of a volume. */
interface KnownVolume {
  readonly id: string;
  sizeBytes: bigint;
  text: string;
  readIOPS: bigint | undefined;
  isStaged: boolean;
  isPublished: boolean;
}

/** The acknowledged state of a snapshot, or of a group's snapshots. */
interface KnownSnapshot {
  readonly id: string;
  readonly members: readonly KnownMember[];
}

interface KnownMember {
  readonly id: string;
  readonly text: string;
  readonly sizeBytes: bigint;
}

const WORKERS = 4;
const NAMES_OF_SNAPSHOTS = 8;
const SHOWN = { readonly: false, flags: [], accessMode: 'SINGLE_NODE_MULTI_WRITER' } as const;

/** Runs random operations on volumes while the service is killed at random effects. */
export class Fuzz {
  readonly #options: FuzzOptions;
  readonly #volumes = new Map<string, KnownVolume>();
  readonly #snapshots = new Map<string, KnownSnapshot>();
  readonly #groups = new Map<string, KnownSnapshot>();
  readonly #taken = new Set<string>();
  readonly #storage: MortalStorage;
  #state: number;
  #done = 0;
  #isEnding = false;

  constructor(options: FuzzOptions) {
    this.#options = options;
    this.#state = options.seed;
    this.#storage = new MortalStorage(options, () => (this.#isEnding ? 0 : 20 + this.#random(150)));
  }

  /** Returns the number of kills. Throws if the state differs from the acknowledged one. */
  async run(): Promise<number> {
    await using _storage = this.#storage;
    await Promise.all(Array.from({ length: WORKERS }, () => this.#work()));
    this.#isEnding = true;
    await this.#check();
    await this.#removeAll();
    return this.#storage.deaths;
  }

  /**
   * A Park-Miller generator: a failing run can be repeated by its seed, as far as timing allows.
   */
  #random(below: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return this.#state % below;
  }

  async #work(): Promise<void> {
    while (this.#done < this.#options.operations) {
      const steps = Object.entries(this.#steps());
      const [what, step] = steps[this.#random(steps.length)] ?? ['nothing', undefined];
      try {
        if ((await step?.()) === true) this.#done += 1;
        else await new Promise(setImmediate);
      } catch (error) {
        throw new Error(`${what}, seed ${this.#options.seed}, after ${this.#done} operations`, {
          cause: error,
        });
      }
    }
  }

  /** Each step runs one operation and records its result; it returns false if it does not apply. */
  #steps(): Readonly<Record<string, () => Promise<boolean>>> {
    const storage = this.#storage;
    const { form } = this.#options;
    const limits = form.backend === 'image' || form.volumeMode === 'Block';
    const always = {
      create: () => this.#onNew(this.#volumes, 'volume', this.#options.volumes, (name) => this.#create(name)),
      delete: () =>
        this.#onVolume(async (name, volume) => {
          if (volume.isPublished) return false;
          await storage.call('volumes.delete', volume.id);
          this.#volumes.delete(name);
          return true;
        }),
      expand: () =>
        this.#onVolume(async (_, volume) => {
          // A mounted ext4 grows only with CAP_SYS_RESOURCE, which some sandboxes drop.
          if (volume.isStaged && form.backend === 'image') return false;
          const sizeBytes = volume.sizeBytes + 4n * MIB;
          await storage.call('volumes.expand', volume.id, { requiredBytes: sizeBytes, limitBytes: 0n });
          volume.sizeBytes = sizeBytes;
          return true;
        }),
      stage: () =>
        this.#onVolume(async (name, volume) => {
          if (volume.isStaged) return false;
          await storage.call('staging.stage', volume.id, this.#place(`${name}-staging`));
          volume.isStaged = true;
          return true;
        }),
      unstage: () =>
        this.#onVolume(async (name, volume) => {
          if (!volume.isStaged || volume.isPublished) return false;
          await storage.call('staging.unstage', volume.id, this.#place(`${name}-staging`));
          volume.isStaged = false;
          return true;
        }),
      publish: () => this.#onVolume((name, volume) => this.#publish(name, volume)),
      write: () => this.#onVolume((name, volume) => this.#write(name, volume)),
      unpublish: () =>
        this.#onVolume(async (name, volume) => {
          if (!volume.isPublished) return false;
          await storage.call('staging.unpublish', volume.id, this.#place(name));
          volume.isPublished = false;
          return true;
        }),
    };
    const modify = () =>
      this.#onVolume(async (_, volume) => {
        const readIOPS = BigInt(100 + this.#random(1_000));
        await storage.call('volumes.modify', volume.id, { readIOPS });
        volume.readIOPS = readIOPS;
        return true;
      });
    return {
      ...always,
      ...(limits ? { modify } : {}),
      ...(form.backend === 'directory' ? {} : this.#copies()),
    };
  }

  #copies(): Readonly<Record<string, () => Promise<boolean>>> {
    const storage = this.#storage;
    const limit = NAMES_OF_SNAPSHOTS;
    return {
      snapshot: () =>
        this.#onVolume((_, { id: volumeId, text, sizeBytes }) =>
          this.#onNew(this.#snapshots, 'snapshot', limit, async (name) => {
            const { id } = await storage.call('snapshots.create', name, volumeId);
            this.#snapshots.set(name, { id, members: [{ id, text, sizeBytes }] });
            return true;
          }),
        ),
      'delete snapshot': () =>
        this.#onOne(this.#snapshots, async (name, { id }) => {
          await storage.call('snapshots.delete', id);
          this.#snapshots.delete(name);
          return true;
        }),
      restore: () =>
        this.#onOne(this.#snapshots, (_, { id, members: [member] }) =>
          this.#onNew(this.#volumes, 'volume', this.#options.volumes, (name) =>
            this.#create(name, { kind: 'snapshot', id }, member?.text, member?.sizeBytes),
          ),
        ),
      clone: () =>
        this.#onVolume((_, { id, text, sizeBytes }) =>
          this.#onNew(this.#volumes, 'volume', this.#options.volumes, (name) =>
            this.#create(name, { kind: 'volume', id }, text, sizeBytes),
          ),
        ),
      group: () =>
        this.#onVolume((_, first) =>
          this.#onVolume((__, second) =>
            this.#onNew(this.#groups, 'group', limit, (name) => this.#group(name, [first, second])),
          ),
        ),
      'delete group': () =>
        this.#onOne(this.#groups, async (name, { id }) => {
          await storage.call('groups.delete', id, []);
          this.#groups.delete(name);
          return true;
        }),
    };
  }

  async #create(
    name: string,
    source?: { readonly kind: 'volume' | 'snapshot'; readonly id: string },
    text = '',
    sizeBytes = VOLUME_BYTES,
  ): Promise<boolean> {
    const { volumeMode } = this.#options.form;
    const range = { requiredBytes: sizeBytes, limitBytes: 0n };
    const made = await this.#storage.call('volumes.create', {
      name,
      pool: 'default',
      range,
      source,
      volumeMode,
    });
    const nothing = { readIOPS: undefined, isStaged: false, isPublished: false };
    this.#volumes.set(name, { id: made.id, sizeBytes: made.sizeBytes, text, ...nothing });
    return true;
  }

  async #publish(name: string, volume: KnownVolume): Promise<boolean> {
    if (!volume.isStaged || volume.isPublished) return false;
    const [target, stagingPath] = [this.#place(name), this.#place(`${name}-staging`)];
    await this.#storage.call('staging.publish', { volumeId: volume.id, target, stagingPath, ...SHOWN });
    volume.isPublished = true;
    return true;
  }

  /** Writes as a pod does, without the service. */
  async #write(name: string, volume: KnownVolume): Promise<boolean> {
    if (!volume.isPublished) return false;
    const text = `text ${this.#random(1_000_000)}`;
    await using file = await open(this.#fileOf(name), this.#options.form.volumeMode === 'Block' ? 'r+' : 'w');
    await file.write(Buffer.concat([Buffer.from(text)], 4096), 0, 4096, 0);
    await file.sync();
    volume.text = text;
    return true;
  }

  async #group(name: string, volumes: readonly KnownVolume[]): Promise<boolean> {
    try {
      const ids = volumes.map(({ id }) => id);
      const group = await this.#storage.call('groups.create', name, ids);
      const members = group.members.map(({ id, sourceVolumeId, sizeBytes }) => ({
        ...{ id, sizeBytes },
        text: volumes.find((volume) => volume.id === sourceVolumeId)?.text ?? '',
      }));
      this.#groups.set(name, { id: group.id, members });
      return true;
    } catch (error) {
      // A shared btrfs may fail to create several snapshots at one instant.
      if (isFault(error, 'unavailable')) return false;
      throw error;
    }
  }

  #onVolume(work: (name: string, volume: KnownVolume) => Promise<boolean>): Promise<boolean> {
    return this.#onOne(this.#volumes, work);
  }

  /** Runs `work` on a random entry that no other worker uses. */
  async #onOne<T>(
    known: ReadonlyMap<string, T>,
    work: (name: string, one: T) => Promise<boolean>,
  ): Promise<boolean> {
    const free = [...known].filter(([name]) => !this.#taken.has(name));
    const chosen = free[this.#random(free.length || 1)];
    return chosen === undefined ? false : await this.#holding(chosen[0], () => work(...chosen));
  }

  /** Runs `work` with an unused name. */
  async #onNew(
    known: ReadonlyMap<string, unknown>,
    kind: string,
    most: number,
    work: (name: string) => Promise<boolean>,
  ): Promise<boolean> {
    const name = `${kind}-${this.#random(most)}`;
    if (known.has(name) || this.#taken.has(name)) return false;
    return await this.#holding(name, () => work(name));
  }

  async #holding(name: string, work: () => Promise<boolean>): Promise<boolean> {
    this.#taken.add(name);
    try {
      return await work();
    } finally {
      this.#taken.delete(name);
    }
  }

  #place(name: string): string {
    return join(this.#options.directory, 'targets', name);
  }

  #fileOf(name: string): string {
    return this.#options.form.volumeMode === 'Block' ? this.#place(name) : join(this.#place(name), 'data');
  }

  /** Checks that exactly the acknowledged state exists, with its data. */
  async #check(): Promise<void> {
    const { volumes, snapshots, orphans, quarantined } = await this.#storage.call('health.report');
    assert.deepEqual({ orphans, quarantined }, { orphans: [], quarantined: [] });
    const found = volumes.map(({ name, id, sizeBytes, attributes, staged, published }) => ({
      ...{ name, id, sizeBytes, readIOPS: attributes?.readIOPS },
      ...{ isStaged: staged.length > 0, isPublished: published.length > 0 },
    }));
    const wanted = [...this.#volumes].map(([name, { text: _, ...volume }]) => ({ name, ...volume }));
    const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
      a.name < b.name ? -1 : 1;
    assert.deepEqual(found.sort(byName), wanted.sort(byName));
    const held = [...this.#snapshots.values(), ...this.#groups.values()].flatMap(({ members }) => members);
    assert.deepEqual(snapshots.map(({ id }) => id).sort(), held.map(({ id }) => id).sort());

    for (const [name, volume] of this.#volumes) await this.#checkText(name, volume);
    for (const [index, { id, text, sizeBytes }] of held.entries()) {
      const name = `restored-${index}`;
      await this.#create(name, { kind: 'snapshot', id }, text, sizeBytes);
      const volume = this.#volumes.get(name);
      if (volume !== undefined) await this.#checkText(name, volume);
    }
  }

  async #checkText(name: string, volume: KnownVolume): Promise<void> {
    if (!volume.isStaged)
      await this.#storage.call('staging.stage', volume.id, this.#place(`${name}-staging`));
    volume.isStaged = true;
    await this.#publish(name, volume);
    await using file = await open(this.#fileOf(name), 'r').catch(() => undefined);
    const { buffer } = (await file?.read(Buffer.alloc(4096), 0, 4096, 0)) ?? { buffer: Buffer.alloc(0) };
    assert.equal(buffer.toString('utf8').replace(/\0.*$/s, ''), volume.text, `the data of ${name}`);
  }

  async #removeAll(): Promise<void> {
    const storage = this.#storage;
    for (const [name, { id }] of this.#volumes) {
      await storage.call('staging.unpublish', id, this.#place(name));
      await storage.call('staging.unstage', id, this.#place(`${name}-staging`));
      await storage.call('volumes.delete', id);
    }
    for (const { id } of this.#groups.values()) await storage.call('groups.delete', id, []);
    for (const { id } of this.#snapshots.values()) await storage.call('snapshots.delete', id);
    const { volumes, snapshots, orphans } = await storage.call('health.report');
    assert.deepEqual({ volumes, snapshots, orphans }, { volumes: [], snapshots: [], orphans: [] });
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    assert.deepEqual(
      mounts.filter((line) => line.includes(join(this.#options.directory, 'targets'))),
      [],
    );
    assert.deepEqual(
      mounts.filter((line) => line.includes(join(this.#options.directory, 'state', 'mounts'))),
      [],
    );
  }
}
