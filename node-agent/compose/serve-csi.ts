import { createRpcServer } from '../../src/rpc/server.ts';
import { createController } from '../csi/controller.ts';
import { createGroupController } from '../csi/group-controller.ts';
import { createIdentity } from '../csi/identity.ts';
import { createNode } from '../csi/node.ts';
import { serveRegistration } from '../csi/registration.ts';
import { createSnapshotMetadata } from '../csi/snapshot-metadata.ts';
import type { Storage } from '../storage/open-storage.ts';
import type { AgentOptions, PartDeps } from './agent-options.ts';
import { createRpcMetrics } from './rpc-metrics.ts';

/** Serves all CSI services on `endpoint`; disposing ends them. */
export async function serveCsi(
  { config, version, endpoint }: AgentOptions & { readonly endpoint: string },
  { logger, metrics, storage }: PartDeps & { readonly storage: Storage },
): Promise<AsyncDisposable> {
  const { nodeName, maxVolumesPerNode, volumeMountGroup } = config;
  await using parts = new AsyncDisposableStack();
  const csi = parts.use(
    createRpcServer({}, { logger: logger.child({ component: 'csi' }), onCall: createRpcMetrics(metrics) }),
  );
  const offersCopies = (): boolean => storage.pools.offersCopies();
  csi.add('csi.v1.Identity', createIdentity({ version }, { isReady: () => true, offersCopies }));
  const publishing = config.controllerPublish ? { maxVolumesPerNode } : undefined;
  csi.add('csi.v1.Controller', createController({ nodeName, publishing }, { storage }));
  csi.addStreams('csi.v1.SnapshotMetadata', createSnapshotMetadata({ storage }));
  csi.add('csi.v1.GroupController', createGroupController({ nodeName }, { storage }));
  csi.add('csi.v1.Node', createNode({ nodeName, maxVolumesPerNode, volumeMountGroup }, { storage }));
  await csi.listen(endpoint);
  return parts.move();
}

/** Registers the driver with kubelet. Calls `onRefused` when kubelet refuses it, also later. */
export async function registerDriver(
  { kubeletDir, endpoint }: { readonly kubeletDir: string; readonly endpoint: string },
  { logger }: Pick<PartDeps, 'logger'>,
  onRefused: (reason: string) => void,
): Promise<AsyncDisposable> {
  return await serveRegistration(
    { kubeletDir, endpoint },
    {
      logger,
      onRefused(reason) {
        logger.error({ reason }, 'kubelet refused the CSI driver');
        onRefused(reason);
      },
    },
  );
}
