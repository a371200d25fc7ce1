import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { z } from 'zod';
import { Fault } from '../../../src/core/fault.ts';
import { writeDurably } from '../../linux/files/durable-file.ts';

const MARKER_FILE = 'keelson-pool.json';

/** Stands in a marker for the UUID that the kernel did not tell. */
export const NO_UUID = '00000000-0000-0000-0000-000000000000';

const identity = z.strictObject({
  version: z.literal(1),
  pool: z.string(),
  poolUuid: z.uuid(),
  /** All zeros where the kernel does not tell. */
  fsUuid: z.uuid(),
});

/** Who a pool is: written into the pool and, beside the agent's state, about the pool. */
export type PoolIdentity = z.output<typeof identity>;

/**
 * The identity on record at `path`; undefined when there is none. Throws `precondition` for a file
 * that is none.
 */
export async function readIdentityFile(path: string): Promise<PoolIdentity | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return identity.parse(JSON.parse(text));
  } catch (error) {
    throw new Fault('precondition', `${path} is no pool identity; restore it before the pool can be used`, {
      fields: { path },
      cause: error,
    });
  }
}

/** What the pool is expected to be. */
export interface PoolClaim {
  readonly pool: string;
  /** Undefined where the kernel does not tell. */
  readonly fsUuid: string | undefined;
  /** Identity on record from an earlier start. */
  readonly recorded: PoolIdentity | undefined;
  /** Where that record is. */
  readonly recordPath: string;
}

/**
 * Recognises the pool in the directory `root`, and marks it when it is new: empty, and never seen
 * before. Throws `precondition` for anything else, with nothing written.
 */
export async function ensureIdentity(root: string, claim: PoolClaim): Promise<PoolIdentity> {
  const found = await readIdentityFile(`${root}/${MARKER_FILE}`);
  const known = claim.recorded;
  if (found === undefined) {
    if (known !== undefined) {
      throw refusal(
        claim,
        `it has no marker ${MARKER_FILE}, but pool ${known.poolUuid} was in service under this name`,
      );
    }
    const entries = (await readdir(root)).filter(
      (entry) => ![`${MARKER_FILE}.tmp`, 'lost+found'].includes(entry),
    );
    if (entries.length > 0) {
      throw refusal(
        claim,
        `it is not empty (it holds ${entries.slice(0, 3).join(', ')}) and has no marker ${MARKER_FILE}`,
      );
    }
  } else {
    if (found.pool !== claim.pool) throw refusal(claim, `its marker says that it is pool ${found.pool}`);
    if (claim.fsUuid !== undefined && found.fsUuid !== NO_UUID && found.fsUuid !== claim.fsUuid) {
      throw refusal(claim, `it is filesystem ${claim.fsUuid}, but its marker was made on ${found.fsUuid}`);
    }
    if (known !== undefined && known.poolUuid !== found.poolUuid) {
      throw refusal(
        claim,
        `it is pool ${found.poolUuid}, but ${known.poolUuid} was in service under this name`,
      );
    }
  }
  const agreed = found ?? {
    version: 1 as const,
    pool: claim.pool,
    poolUuid: randomUUID(),
    fsUuid: claim.fsUuid ?? NO_UUID,
  };
  const text = `${JSON.stringify(agreed, null, 2)}\n`;
  if (found === undefined) await writeDurably(`${root}/${MARKER_FILE}`, text);
  if (known === undefined) await writeDurably(claim.recordPath, text);
  return agreed;
}

function refusal({ pool, recordPath }: PoolClaim, reason: string): Fault {
  return new Fault(
    'precondition',
    `pool ${pool} is refused: ${reason}. Nothing was written. Mount the right filesystem; what was known is in ${recordPath}`,
    { fields: { pool } },
  );
}
