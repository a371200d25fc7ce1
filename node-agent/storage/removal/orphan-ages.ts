import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { OrphanAges } from '../../../src/core/volumes/orphans.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import { removeDurably, writeDurably } from '../../linux/files/durable-file.ts';

/** Keeps the ages of orphans over restarts of the agent. */
export interface AgeStore {
  read(): Promise<OrphanAges>;
  write(ages: OrphanAges): Promise<void>;
}

const schema = z.strictObject({ version: z.literal(1), agesMs: z.record(z.string(), z.number().min(0)) });

/**
 * Keeps the ages in `STATE/orphans.json`, which exists while there are orphans. An unreadable file
 * counts as absent: all ages start at 0 again.
 */
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
      this.#logger.warn(
        { file: this.#path, err: error },
        'cannot read the ages of orphans; their grace periods start again',
      );
      return {};
    }
  }

  async write(agesMs: OrphanAges): Promise<void> {
    if (Object.keys(agesMs).length === 0) await removeDurably(this.#path);
    else await writeDurably(this.#path, `${JSON.stringify({ version: 1, agesMs })}\n`);
  }
}
