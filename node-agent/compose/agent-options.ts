import { join } from 'node:path';
import type { AgentConfig } from '../../src/core/config/agent-config.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly version: string;
}

/** What every part of the agent is built with. */
export interface PartDeps {
  readonly logger: Logger;
  readonly metrics: MetricsRegistry;
}

/** Returns the paths of the agent's sockets. */
export function socketsOf({ runDir }: AgentConfig): Readonly<Record<'csi' | 'cni' | 'admin', string>> {
  return { csi: join(runDir, 'csi.sock'), cni: join(runDir, 'cni.sock'), admin: join(runDir, 'admin.sock') };
}
