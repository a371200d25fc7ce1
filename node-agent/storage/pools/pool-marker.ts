import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { z } from 'zod';
import { Fault } from '../../../src/core/fault.ts';
import { writeDurably } from '../../linux/files/durable-file.ts';

const MARKER_FILE = 'keelson-pool.json';

/** Replaces a UUID in a marker if the kernel did not report one. */
export const NO_UUID = '00000000-0000-0000-0000-000000000000';

const identity = z.strictObject({
  version: z.literal(1),
  pool: z.string(),
  poolUuid: z.uuid(),
  /** All zeros if the kernel did not report it. */
  fsUuid: z.uuid(),
});

/** The identity of a pool: written into the pool, and recorded in the agent's state. */
export type PoolIdentity = z.output<typeof identity>;

/**
 * Reads the identity recorded at `path`; undefined for an absent file. Throws `precondition` for an
 * invalid one.
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
    throw new Fault('precondition', `${path} is not a valid pool identity; restore it`, {
      fields: { path },
      cause: error,
    });
  }
}

/** The expected identity of a pool. */
export interface ExpectedPool {
  readonly pool: string;
  /** Undefined if the kernel does not report it. */
  readonly fsUuid: string | undefined;
  /** Identity recorded at an earlier start. */
  readonly recorded: PoolIdentity | undefined;
  /** File of that record. */
  readonly recordPath: string;
}

/**
 * Checks the marker of the pool in the directory `root`, and writes the marker of a new pool: empty
 * and without a record. Throws `precondition` for any other directory, with nothing written.
 */
export async function ensureIdentity(root: string, claim: ExpectedPool): Promise<PoolIdentity> {
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
    if (found.pool !== claim.pool) throw refusal(claim, `its marker is that of pool ${found.pool}`);
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

function refusal({ pool, recordPath }: ExpectedPool, reason: string): Fault {
  return new Fault(
    'precondition',
    `cannot open pool ${pool}: ${reason}; nothing was written; mount the file system of the pool, whose identity is in ${recordPath}`,
    { fields: { pool } },
  );
}
