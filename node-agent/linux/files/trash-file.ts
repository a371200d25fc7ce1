import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import type { RemovalBudget } from './removal-budget.ts';
import { absent } from './absent.ts';

/** How much of its length a file loses at a time: the kernel frees what is in that in one go. */
const STEP_BYTES = 1n << 30n;
/** Less would free no whole block. */
const LEAST_STEP_BYTES = 1n << 20n;

export interface TrashFileDeps {
  /**
   * Whether the kernel still serves the file as a device: whoever reads that must not find it cut
   * off.
   */
  readonly isInUse: (path: string) => Promise<boolean>;
  /** Default: 1 GiB. */
  readonly stepBytes?: bigint;
}

/**
 * Removes a file whose space may be large, from its end, as far as the budget goes. Resolves to
 * whether it is gone; a crash in between leaves a shorter one. Holes cost nothing.
 */
export async function removeTrashFile(
  path: string,
  budget: RemovalBudget,
  { isInUse, stepBytes = STEP_BYTES }: TrashFileDeps,
): Promise<boolean> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW).catch(absent);
  if (file === undefined) return true;
  await using _closed = file;
  let { size, blocks } = await file.stat({ bigint: true });
  const cutsOff = blocks * 512n > budget.leftBytes && !(await isInUse(path));
  while (cutsOff && blocks * 512n > budget.leftBytes) {
    if (budget.isSpent || size === 0n) {
      budget.postpone();
      return false;
    }
    const allowed = budget.leftBytes < LEAST_STEP_BYTES ? LEAST_STEP_BYTES : budget.leftBytes;
    const step = allowed < stepBytes ? allowed : stepBytes;
    await file.truncate(Number(size > step ? size - step : 0n));
    const before = blocks;
    ({ size, blocks } = await file.stat({ bigint: true }));
    budget.spend((before - blocks) * 512n);
  }
  budget.spend(blocks * 512n);
  await rm(path, { force: true });
  return true;
}
