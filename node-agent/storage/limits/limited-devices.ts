import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Logger } from '../../../src/runtime/logger.ts';
import { writeDurably } from '../../linux/files/durable-file.ts';

/** Records devices (`MAJOR:MINOR`) with limits since boot, and the volume of each. */
export interface LimitedDevices {
  read(): Promise<ReadonlyMap<string, string>>;
  write(devices: ReadonlyMap<string, string>): Promise<void>;
}

const record = z.strictObject({
  version: z.literal(1),
  bootId: z.string(),
  devices: z.record(z.string(), z.string()),
});

/**
 * Opens the record below `stateDir`. A loop device keeps its limits when it is detached, and its
 * next user would inherit them, so limits left by a crash must be removed. A reboot removes all
 * limits.
 */
export async function openLimitedDevices(
  { stateDir }: { readonly stateDir: string },
  { logger }: { readonly logger: Logger },
): Promise<LimitedDevices> {
  const file = join(stateDir, 'io-limits.json');
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  return {
    async read() {
      const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (text === undefined) return new Map();
      try {
        const found = record.parse(JSON.parse(text));
        return new Map(found.bootId === bootId ? Object.entries(found.devices) : []);
      } catch (error) {
        logger.warn(
          { file, err: error },
          'cannot read the record of limited devices; starting with an empty one',
        );
        return new Map();
      }
    },
    async write(devices) {
      await writeDurably(
        file,
        `${JSON.stringify({ version: 1, bootId, devices: Object.fromEntries(devices) })}\n`,
      );
    },
  };
}
