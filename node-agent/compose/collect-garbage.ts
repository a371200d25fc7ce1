import { join } from 'node:path';
import type { AgentConfig } from '../../src/core/config/agent-config.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { Storage } from '../storage/open-storage.ts';
import { AgeFile } from '../storage/removal/orphan-ages.ts';
import { OrphanCollector, type VolumeReferenceSource } from '../storage/removal/orphan-collector.ts';

/**
 * Removes inline volumes of pods that were deleted while the agent was down: kubelet's directory
 * has no such pods. A pool that opens later may have such volumes too.
 */
export async function collectEphemerals(
  { kubeletDir }: Pick<AgentConfig, 'kubeletDir'>,
  { storage, logger }: { readonly storage: Storage; readonly logger: Logger },
): Promise<void> {
  if (kubeletDir === undefined) return;
  const collect = async (): Promise<void> => {
    try {
      await storage.ephemerals.collect(join(kubeletDir, 'pods'));
    } catch (error) {
      logger.warn({ err: error }, 'cannot look for volumes of deleted pods');
    }
  };
  storage.pools.onChange(() => void collect());
  await collect();
}

/** Removes unreferenced data after the configured grace period, until the signal aborts. */
export async function collectOrphans(
  { orphanGraceMs, stateDir }: Pick<AgentConfig, 'orphanGraceMs' | 'stateDir'>,
  storage: Storage,
  references: VolumeReferenceSource | undefined,
  deps: { readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  if (orphanGraceMs === undefined) return;
  const logger = deps.logger.child({ component: 'orphans' });
  const ages = new AgeFile({ stateDir }, { logger });
  await new OrphanCollector({ graceMs: orphanGraceMs }, { storage, references, ages, logger }).run(signal);
}
