import type { AgentConfig } from '../../src/core/config/agent-config.ts';
import type { AgentStatus, NetworkStatus } from '../../src/core/inventory/agent-status.ts';
import { describeAttachment } from '../../src/core/network/attachment.ts';
import type { Network } from '../network/network.ts';
import type { Storage } from '../storage/open-storage.ts';

export interface StatusParts {
  readonly config: AgentConfig;
  readonly version: string;
  readonly startedAt: Date;
  readonly sockets: AgentStatus['sockets'];
  /** Undefined until every pool is open. */
  readonly storage: Storage | undefined;
  readonly network: Network;
}

/** Gathers what `keelson status` shows. */
export async function readStatus({
  config,
  version,
  startedAt,
  sockets,
  storage,
  network,
}: StatusParts): Promise<AgentStatus> {
  const report = await storage?.health.report();
  return {
    version,
    nodeName: config.nodeName,
    startedAt: startedAt.toISOString(),
    sockets,
    pools: (report?.pools ?? []).map((pool) => ({
      name: pool.name,
      backend: pool.backend,
      quota: pool.quota ?? 'unknown',
      totalBytes: String(pool.capacity?.totalBytes ?? 0n),
      allocatedBytes: String(pool.capacity?.allocatedBytes ?? 0n),
      availableBytes: String(pool.capacity?.availableBytes ?? 0n),
      problem: pool.problem,
    })),
    volumes: (report?.volumes ?? []).map(({ id, name, pool, sizeBytes, published }) => ({
      id,
      name,
      pool,
      sizeBytes: String(sizeBytes),
      published: published.map(({ target }) => target),
    })),
    snapshots: (report?.snapshots ?? []).map(({ id, name, sourceVolumeId, sizeBytes }) => ({
      id,
      name,
      sourceVolumeId,
      sizeBytes: String(sizeBytes),
    })),
    quarantined: report?.quarantined ?? [],
    orphans: report?.orphans ?? [],
    network: networkStatus(network),
  };
}

function networkStatus(network: Network): NetworkStatus {
  const { addresses } = network.measure();
  return {
    families: addresses.map(({ family, total, inUse, cooling }) => ({
      family,
      total: String(total),
      inUse,
      cooling,
    })),
    attachments: network.list().map((attachment) => ({
      containerId: attachment.containerId,
      ifname: attachment.ifname,
      pod: attachment.pod === undefined ? undefined : describeAttachment(attachment),
      addresses: attachment.addresses,
    })),
  };
}
