import { createHash } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Attachment, type AttachmentKey, attachmentName } from '../../../src/core/network/attachment.ts';
import { parseAddress } from '../../../src/core/network/cidr.ts';
import type { Logger } from '../../../src/runtime/logger.ts';

export interface StoreOptions {
  /** On tmpfs: pods do not outlive a boot, and no write waits for a disk. */
  readonly directory: string;
  /** The running kernel's `boot_id`; records of another boot are dropped. */
  readonly bootId: string;
}

export interface StoredState {
  readonly attachments: readonly Attachment[];
  /** Addresses in their cooldown, with its start (milliseconds since the epoch). */
  readonly cooling: ReadonlyMap<string, number>;
}

const RECORD_VERSION = 1;

const portMapping = z.object({
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  hostPort: z.int(),
  containerPort: z.int(),
  hostIp: z.string().optional(),
});

const record = z.object({
  version: z.literal(RECORD_VERSION),
  containerId: z.string(),
  ifname: z.string(),
  network: z.string(),
  netns: z.string(),
  netnsId: z.string(),
  hostLink: z.string(),
  mac: z.string(),
  mtu: z.int(),
  addresses: z.array(z.string().refine((address) => parseAddress(address) !== undefined)).min(1),
  portMappings: z.array(portMapping),
  pod: z.object({ namespace: z.string(), name: z.string(), uid: z.string().optional() }).optional(),
});

/**
 * One file per attachment and per address in its cooldown. A file is complete or absent: written
 * aside, then renamed.
 */
export class AttachmentStore {
  readonly #attachments: string;
  readonly #cooling: string;
  readonly #quarantine: string;
  readonly #logger: Logger;

  private constructor(directory: string, logger: Logger) {
    this.#attachments = join(directory, 'attachments');
    this.#cooling = join(directory, 'cooling');
    this.#quarantine = join(directory, 'quarantine');
    this.#logger = logger;
  }

  static async open(
    { directory, bootId }: StoreOptions,
    { logger }: { readonly logger: Logger },
  ): Promise<AttachmentStore> {
    const store = new AttachmentStore(directory, logger);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const stamp = join(directory, 'boot-id');
    const stamped = await readFile(stamp, 'utf8').catch(() => undefined);
    if (stamped?.trim() !== bootId) {
      // Dropped before stamped: after a crash between the two, they are dropped again.
      for (const old of [store.#attachments, store.#cooling]) await rm(old, { recursive: true, force: true });
      await writeWhole(stamp, `${bootId}\n`);
    }
    for (const part of [store.#attachments, store.#cooling])
      await mkdir(part, { recursive: true, mode: 0o700 });
    return store;
  }

  /** Removes every record below `directory`, and the directory. */
  static async erase(directory: string): Promise<void> {
    await rm(directory, { recursive: true, force: true });
  }

  /**
   * Reads all records. A corrupt one is quarantined and logged; its address is still reserved, see
   * `openNetwork`.
   */
  async load(): Promise<StoredState> {
    const attachments: Attachment[] = [];
    for (const file of await readdir(this.#attachments)) {
      const path = join(this.#attachments, file);
      if (!file.endsWith('.json')) {
        await rm(path, { force: true });
        continue;
      }
      try {
        const { version: _, ...attachment } = record.parse(JSON.parse(await readFile(path, 'utf8')));
        attachments.push(attachment);
      } catch (error) {
        await mkdir(this.#quarantine, { recursive: true, mode: 0o700 });
        await rename(path, join(this.#quarantine, file));
        this.#logger.error({ record: file, err: error }, 'quarantined a corrupt attachment record');
      }
    }
    const cooling = new Map<string, number>();
    for (const address of await readdir(this.#cooling)) {
      cooling.set(address, (await stat(join(this.#cooling, address))).mtimeMs);
    }
    return { attachments, cooling };
  }

  async save(attachment: Attachment): Promise<void> {
    await writeWhole(
      this.#recordPath(attachment),
      JSON.stringify({ version: RECORD_VERSION, ...attachment }),
    );
  }

  /** Removes the record, and stores the start of its addresses' cooldown. Idempotent. */
  async remove(attachment: Attachment, { resting }: { readonly resting: boolean }): Promise<void> {
    // In this order: a crash in between leaves the record, whose removal is then repeated.
    if (resting) {
      for (const address of attachment.addresses)
        await inMemory(() => writeFileSync(join(this.#cooling, address), ''));
    }
    await inMemory(() => rmSync(this.#recordPath(attachment), { force: true }));
  }

  /** Removes cooldowns that began before this time. */
  async forgetCooling(olderThanMs: number): Promise<void> {
    for (const address of await readdir(this.#cooling)) {
      const path = join(this.#cooling, address);
      if ((await stat(path)).mtimeMs < olderThanMs) await rm(path, { force: true });
    }
  }

  /** IDs come from outside, so a file is named by their hash. */
  #recordPath(key: AttachmentKey): string {
    const hash = createHash('sha256').update(attachmentName(key)).digest('hex').slice(0, 32);
    return join(this.#attachments, `${hash}.json`);
  }
}

async function writeWhole(path: string, content: string): Promise<void> {
  await inMemory(() => {
    writeFileSync(`${path}~`, content, { mode: 0o600 });
    renameSync(`${path}~`, path);
  });
}

/**
 * Changes of tmpfs take microseconds, and each turn of a threaded one a tenth of a millisecond of
 * every ADD and DEL. An error is a rejection as of any other write.
 */
function inMemory(change: () => void): Promise<void> {
  return new Promise((resolve) => {
    change();
    resolve();
  });
}
