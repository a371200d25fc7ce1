import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createController } from '../../../node-agent/csi/controller.ts';
import { createGroupController } from '../../../node-agent/csi/group-controller.ts';
import { createIdentity } from '../../../node-agent/csi/identity.ts';
import { createNode } from '../../../node-agent/csi/node.ts';
import { createSnapshotMetadata } from '../../../node-agent/csi/snapshot-metadata.ts';
import { connectRpc, type RpcClient } from '../../../src/rpc/client.ts';
import type { VolumeCapability } from '../../../src/rpc/gen/csi/v1/VolumeCapability.ts';
import { createRpcServer } from '../../../src/rpc/server.ts';
import type { MethodOf, RequestOf, ResponseIn } from '../../../src/rpc/services.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { type StorageLab, type StorageLabOptions, startStorageLab } from './storage-lab.ts';

const MIB = 2 ** 20;

type AccessMode =
  | 'SINGLE_NODE_WRITER'
  | 'SINGLE_NODE_SINGLE_WRITER'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'SINGLE_NODE_READER_ONLY'
  | 'MULTI_NODE_MULTI_WRITER';

/** Returns a Filesystem or Block capability. */
export function capability(
  mode: AccessMode,
  form: 'mount' | 'block' = 'mount',
): VolumeCapability & { readonly access_mode: object } {
  return { ...(form === 'mount' ? { mount: {} } : { block: {} }), access_mode: { mode } };
}

/**
 * The CSI services on a real pool, called over their socket. Disposing unpublishes volumes that a
 * test left published.
 */
export interface CsiLab extends AsyncDisposable {
  readonly lab: StorageLab;
  readonly client: RpcClient;
  controller<M extends MethodOf<'csi.v1.Controller'>>(
    method: M,
    request: RequestOf<'csi.v1.Controller', M>,
  ): Promise<ResponseIn<'csi.v1.Controller', M>>;
  node<M extends MethodOf<'csi.v1.Node'>>(
    method: M,
    request: RequestOf<'csi.v1.Node', M>,
  ): Promise<ResponseIn<'csi.v1.Node', M>>;
  group<M extends MethodOf<'csi.v1.GroupController'>>(
    method: M,
    request: RequestOf<'csi.v1.GroupController', M>,
  ): Promise<ResponseIn<'csi.v1.GroupController', M>>;
  /** Creates a volume of exactly this size; returns its id. */
  createVolume(
    name: string,
    mebibytes?: number,
    more?: Partial<RequestOf<'csi.v1.Controller', 'CreateVolume'>>,
  ): Promise<string>;
  /** Stages and publishes as kubelet does; returns the target. */
  publish(
    id: string,
    name: string,
    more?: Partial<RequestOf<'csi.v1.Node', 'NodePublishVolume'>>,
  ): Promise<string>;
}

export async function startCsiLab(options: StorageLabOptions = {}): Promise<CsiLab> {
  await using cleanup = new AsyncDisposableStack();
  const lab = cleanup.use(await startStorageLab(options));
  const server = cleanup.use(createRpcServer({}, { logger: silentLogger }));
  const { storage } = lab;
  server.add(
    'csi.v1.Identity',
    createIdentity(
      { version: '1.2.3' },
      { isReady: () => true, offersCopies: () => storage.pools.offersCopies() },
    ),
  );
  server.add('csi.v1.Controller', createController({ nodeName: 'node-a' }, { storage }));
  server.addStreams('csi.v1.SnapshotMetadata', createSnapshotMetadata({ storage }));
  server.add('csi.v1.GroupController', createGroupController({ nodeName: 'node-a' }, { storage }));
  server.add('csi.v1.Node', createNode({ nodeName: 'node-a', maxVolumesPerNode: 7 }, { storage }));
  const socket = join(lab.directory, 'csi.sock');
  await server.listen(socket);
  const client = cleanup.use(connectRpc(socket));
  const owned = cleanup.move();
  const controller: CsiLab['controller'] = (method, request) =>
    client.call('csi.v1.Controller', method, request, {});
  const node: CsiLab['node'] = (method, request) => client.call('csi.v1.Node', method, request, {});
  return {
    lab,
    client,
    controller,
    node,
    group: (method, request) => client.call('csi.v1.GroupController', method, request, {}),
    async createVolume(name, mebibytes = 16, more = {}) {
      const bytes = String(mebibytes * MIB);
      const { volume } = await controller('CreateVolume', {
        name,
        capacity_range: { required_bytes: bytes, limit_bytes: bytes },
        volume_capabilities: [capability('SINGLE_NODE_WRITER')],
        ...more,
      });
      return volume?.volume_id ?? '';
    },
    async publish(id, name, more = {}) {
      const staging = join(lab.directory, `staging-${id}`);
      await mkdir(staging, { recursive: true });
      const target = join(lab.directory, name);
      const common = {
        volume_id: id,
        staging_target_path: staging,
        volume_capability: capability('SINGLE_NODE_MULTI_WRITER'),
        ...more,
      };
      await node('NodeStageVolume', common);
      await node('NodePublishVolume', { ...common, target_path: target });
      return target;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
