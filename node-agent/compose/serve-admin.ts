import { VOLUME_DELETE_PATH, VOLUME_STREAM_PATH } from '../../src/core/config/admin-paths.ts';
import { NO_REFERENCES } from '../../src/core/volumes/orphans.ts';
import { startAdminServer } from '../../src/runtime/admin-server.ts';
import { Health } from '../../src/runtime/health.ts';
import { readStatus } from '../admin/status.ts';
import { createVolumeDeleteRoute } from '../admin/volume-delete-route.ts';
import { createVolumeStreamRoute } from '../admin/volume-stream-route.ts';
import type { ClusterMember } from '../kube/cluster-member.ts';
import type { Network } from '../network/network.ts';
import { type AgentOptions, type PartDeps, socketsOf } from './agent-options.ts';
import type { AgentState } from './agent-state.ts';

/** Serves metrics, health, status and the admin routes; disposing ends them. */
export async function serveAdmin(
  { config, version }: AgentOptions,
  {
    logger,
    metrics,
    state,
    network,
    member,
  }: PartDeps & {
    readonly state: AgentState;
    readonly network: Network;
    readonly member: ClusterMember | undefined;
  },
): Promise<AsyncDisposable> {
  const startedAt = new Date();
  const sockets = socketsOf(config);
  const health = new Health();
  health.add('network', async () => void network.status());
  health.add('storage', () => state.checkStorage());
  const storage = (): AgentState['storage'] => state.storage;
  const references = (): ReturnType<ClusterMember['known']> =>
    member === undefined ? NO_REFERENCES : member.known();
  return await startAdminServer(
    { address: config.metricsAddress, socketPath: sockets.admin },
    {
      ...{ metrics, health, logger },
      status: () => readStatus({ config, version, startedAt, sockets, storage: state.storage, network }),
      routes: {
        [VOLUME_STREAM_PATH]: createVolumeStreamRoute({ storage }),
        [VOLUME_DELETE_PATH]: createVolumeDeleteRoute({ storage, references }),
      },
    },
  );
}
