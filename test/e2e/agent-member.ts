import { systemFiles } from '../../node-agent/inventory/file-reader.ts';
import { ClusterMember } from '../../node-agent/kube/cluster-member.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Logger } from '../../src/runtime/logger.ts';

/**
 * An agent's part in its cluster, for a node with the pool `default`, a network that stays as it
 * is, and no proxy.
 */
export function agentMember(
  nodeName: string,
  { client, logger }: { readonly client: KubeClient; readonly logger: Logger },
): ClusterMember {
  return new ClusterMember(
    {
      nodeName,
      agentVersion: 'test',
      architecture: process.arch,
      kubeletDir: undefined,
      pools: [{ name: 'default', backend: 'btrfs' }],
      network: { mtu: 'auto' },
    },
    {
      client,
      files: systemFiles,
      network: () => ({ ranges: ['10.88.0.0/24'], unreachable: [], strays: [] }),
      proxy: { files: { replace: async () => false }, directory: '/none', askProxy: async () => undefined },
      notServing: () => undefined,
      logger,
    },
  );
}
