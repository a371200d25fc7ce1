import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  ACCESS_MODES,
  FS_TYPES,
  type Snapshot,
  type Volume,
  VOLUME_MODES,
} from '../../../src/core/volumes/volume.ts';
import type { QuarantinedRecord, RecordStore } from '../contract/records.ts';
import { isContext } from '../../../src/core/volumes/mount-options.ts';
import { ATTRIBUTES } from '../../../src/core/volumes/volume-attributes.ts';
import { formatGroupId, formatId, isGroupId, isId } from '../../../src/core/volumes/volume-name.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import { SharedRun } from '../../../src/runtime/shared-run.ts';
import { removeDurably, syncDirectory, writeDurably } from '../../linux/files/durable-file.ts';

const bytes = z.string().regex(/^\d+$/).transform(BigInt);
const pins = z.record(z.string(), bytes);
const phase = z.enum(['creating', 'ready', 'deleting']);
const id = z.string().refine(isId, 'is not the id of a volume or snapshot');
const common = {
  version: z.literal(1),
  id,
  name: z.string(),
  pool: z.string(),
  sizeBytes: bytes,
  phase,
  createdAtMs: z.int(),
  pins,
  // Absent in records of early versions, which had only Filesystem volumes on btrfs.
  volumeMode: z.enum(VOLUME_MODES).default('Filesystem'),
  // Written only for encrypted volumes, so that older versions reject these records.
  encryption: z
    .strictObject({
      salt: z.string().regex(/^[0-9a-f]{32}$/),
      keyIdentifier: z
        .string()
        .regex(/^[0-9a-f]{32}$/)
        .optional(),
    })
    .optional(),
  fsType: z
    .enum(FS_TYPES)
    .nullable()
    .default('btrfs')
    .transform((type) => type ?? undefined),
};
const volumeRecord = z.strictObject({
  ...common,
  source: z
    .strictObject({ kind: z.enum(['volume', 'snapshot']), id })
    .nullable()
    .transform((source) => source ?? undefined),
  // Optional fields are written only if set: other records stay readable for older versions.
  ephemeral: z.literal(true).optional(),
  attributes: z.partialRecord(z.enum(ATTRIBUTES), bytes).optional(),
  staged: z.array(z.string()),
  selinuxContext: z.string().refine(isContext, 'is not an SELinux context').optional(),
  controllerPublication: z
    .strictObject({ readonly: z.boolean(), accessMode: z.enum(ACCESS_MODES) })
    .optional(),
  published: z.array(
    z.strictObject({
      target: z.string(),
      readonly: z.boolean(),
      flags: z.array(z.string()),
      accessMode: z.enum(ACCESS_MODES),
    }),
  ),
});
const snapshotRecord = z.strictObject({
  ...common,
  sourceVolumeId: id,
  group: z
    .strictObject({ id: z.string().refine(isGroupId, 'is not the id of a group snapshot'), name: z.string() })
    .optional(),
});

/** Returns a new id for a volume or snapshot; its 96 random bits are unique over all nodes. */
export function newId(kind: 'vol' | 'snap'): string {
  return formatId(kind, randomBytes(12).toString('hex'));
}

/** Returns a new id for a group snapshot. */
export function newGroupId(): string {
  return formatGroupId(randomBytes(12).toString('hex'));
}

/**
 * Opens the records below `stateDir`, one file per volume and snapshot. An unreadable file stays on
 * disk and is listed as quarantined.
 */
export async function openRecordStore(
  { stateDir }: { readonly stateDir: string },
  { logger }: { readonly logger: Logger },
): Promise<RecordStore> {
  const quarantined: QuarantinedRecord[] = [];
  const load = async <T extends Volume | Snapshot>(
    kind: string,
    parse: (value: unknown) => T,
  ): Promise<RecordTable<T>> => {
    const directory = join(stateDir, kind);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const found = new Map<string, T>();
    for (const file of await readdir(directory)) {
      // A crash before the rename leaves it; the record that it was to replace is still valid.
      if (file.endsWith('.tmp')) {
        await rm(join(directory, file), { force: true });
        continue;
      }
      try {
        const record = parse(JSON.parse(await readFile(join(directory, file), 'utf8')));
        if (file !== `${record.id}.json`) throw new Error(`the file name does not match id ${record.id}`);
        found.set(record.id, record);
      } catch (error) {
        const reason = describe(error);
        quarantined.push({ file: join(directory, file), reason });
        logger.error({ file: join(directory, file), reason }, 'cannot read a record; it is quarantined');
      }
    }
    return new RecordTable(directory, found);
  };
  const volumes = await load('volumes', (value): Volume => withoutVersion(volumeRecord.parse(value)));
  const snapshots = await load('snapshots', (value): Snapshot => withoutVersion(snapshotRecord.parse(value)));
  return {
    volumes: volumes.records,
    snapshots: snapshots.records,
    quarantined,
    saveVolume: (volume) => volumes.save(volume),
    saveSnapshot: (snapshot) => snapshots.save(snapshot),
    remove: async (recordId) => {
      await volumes.remove(recordId);
      await snapshots.remove(recordId);
    },
  };
}

/** The records of one kind. Callers hold the lock of a record while they write it. */
class RecordTable<T extends Volume | Snapshot> {
  readonly records: Map<string, T>;
  readonly #directory: string;
  /** Concurrent writes share one sync of the directory. */
  readonly #sync: SharedRun<void>;

  constructor(directory: string, records: Map<string, T>) {
    this.#directory = directory;
    this.#sync = new SharedRun(() => syncDirectory(directory));
    this.records = records;
  }

  async save(record: T): Promise<void> {
    const before = this.records.get(record.id);
    this.records.set(record.id, record);
    try {
      await writeDurably(this.#file(record.id), `${serialize(record)}\n`, () => this.#sync.run());
    } catch (error) {
      if (before === undefined) this.records.delete(record.id);
      else this.records.set(record.id, before);
      throw error;
    }
  }

  async remove(recordId: string): Promise<void> {
    if (!this.records.has(recordId)) return;
    await removeDurably(this.#file(recordId), () => this.#sync.run());
    this.records.delete(recordId);
  }

  #file(recordId: string): string {
    return join(this.#directory, `${recordId}.json`);
  }
}

function serialize(record: Volume | Snapshot): string {
  const source = 'source' in record ? { source: record.source ?? null } : {};
  return JSON.stringify(
    { version: 1, ...record, ...source, fsType: record.fsType ?? null },
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
  );
}

function withoutVersion<T extends { readonly version: number }>({
  version: _,
  ...record
}: T): Omit<T, 'version'> {
  return record;
}

function describe(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map(({ path, message }) => `${path.join('.') || 'record'}: ${message}`).join('; ');
  }
  return error instanceof Error ? error.message : String(error);
}
