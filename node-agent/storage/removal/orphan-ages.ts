import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { OrphanAges } from '../../../src/core/volumes/orphans.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import { removeDurably, writeDurably } from '../../linux/files/durable-file.ts';

/** Where the ages of orphans outlive the agent. */
export interface AgeStore {
  read(): Promise<OrphanAges>;
  write(ages: OrphanAges): Promise<void>;
}

const schema = z.strictObject({ version: z.literal(1), agesMs: z.record(z.string(), z.number().min(0)) });

/** In `STATE/orphans.json`, which is there while there are orphans. One that cannot be read counts as none: everything waits anew. */
export class AgeFile implements AgeStore {
  readonly #path: string;
  readonly #logger: Logger;

  constructor({ stateDir }: { readonly stateDir: string }, { logger }: { readonly logger: Logger }) {
    this.#path = join(stateDir, 'orphans.json');
    this.#logger = logger;
  }

  async read(): Promise<OrphanAges> {
    try {
      return schema.parse(JSON.parse(await readFile(this.#path, 'utf8'))).agesMs;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
      this.#logger.warn({ file: this.#path, err: error }, 'ages of orphans cannot be read; they count anew');
      return {};
    }
  }

  async write(agesMs: OrphanAges): Promise<void> {
    if (Object.keys(agesMs).length === 0) await removeDurably(this.#path);
    else await writeDurably(this.#path, `${JSON.stringify({ version: 1, agesMs })}\n`);
  }
}
