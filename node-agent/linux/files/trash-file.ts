import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import type { RemovalBudget } from './removal-budget.ts';
import { absent } from './absent.ts';

/** Step by which a file is truncated: the kernel frees one step at a time. */
const STEP_BYTES = 1n << 30n;
/** Smaller steps would free no whole block. */
const LEAST_STEP_BYTES = 1n << 20n;

export interface TrashFileDeps {
  /** Whether the kernel serves the file as a device, whose readers must not see it truncated. */
  readonly isInUse: (path: string) => Promise<boolean>;
  /** Default: 1 GiB. */
  readonly stepBytes?: bigint;
}

/**
 * Removes a large file within the budget, truncating it from its end. Returns whether it is
 * removed; a crash leaves a shorter file. Holes cost nothing.
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
