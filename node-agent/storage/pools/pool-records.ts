import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { BACKENDS } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolSpec } from '../../../src/core/pools/pool.ts';
import { writeDurably } from '../../linux/files/durable-file.ts';

const bytes = z.string().regex(/^\d+$/).transform(BigInt);
const record = z.strictObject({
  version: z.literal(1),
  pools: z.array(
    z.strictObject({
      name: z.string(),
      backend: z.enum(BACKENDS),
      // Written only for pools with labels: other records stay readable for older versions.
      labels: z.record(z.string(), z.string()).default({}),
      source: z.discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('path'), path: z.string() }),
        z.strictObject({ kind: z.literal('file'), file: z.string(), sizeBytes: bytes }),
        z.strictObject({ kind: z.literal('devices'), devices: z.array(z.string()) }),
      ]),
      quota: z.enum(['auto', 'simple', 'classic']),
      reserve: z.discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('bytes'), bytes }),
        z.strictObject({ kind: z.literal('percent'), percent: z.number() }),
      ]),
      overcommitPercent: z.number(),
      enforce: z.boolean(),
    }),
  ),
});

/**
 * Reads the pools recorded at `path`; none for an absent file. Throws `precondition` for an invalid
 * one.
 */
export async function readPoolSpecs(path: string): Promise<readonly PoolSpec[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    return record.parse(JSON.parse(text)).pools;
  } catch (error) {
    throw new Fault(
      'precondition',
      `cannot read ${path}; remove it: the agent reads StoragePools from the API server again`,
      { fields: { path }, cause: error },
    );
  }
}

/** Replaces the pools recorded at `path`. */
export async function writePoolSpecs(path: string, pools: readonly PoolSpec[]): Promise<void> {
  const text = JSON.stringify(
    { version: 1, pools: pools.map(withoutNone) },
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
    2,
  );
  await writeDurably(path, `${text}\n`);
}

function withoutNone({ labels, ...spec }: PoolSpec): object {
  return Object.keys(labels).length === 0 ? spec : { ...spec, labels };
}
