import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { connectRpc, type RpcClient } from '../../../src/rpc/client.ts';
import type { MethodOf, RequestOf, ResponseIn } from '../../../src/rpc/services.ts';
import { capability } from '../../integration/storage/csi-lab.ts';
import type { FsType } from '../../../src/core/volumes/volume.ts';
import { waitFor } from '../../cluster/wait.ts';

const PLACES = '/var/lib/kubelet-of-test';

export interface WantedVolume {
  readonly name: string;
  readonly pool: string;
  readonly form?: 'mount' | 'block';
  readonly fsType?: FsType;
  /** Default: 64. */
  readonly mebibytes?: number;
  readonly mutable?: Readonly<Record<string, string>>;
}

/** Asks the agent of this machine for volumes as an orchestrator does. */
export interface Kubelet extends Disposable {
  /** Resolves when the agent reports that it is ready. */
  probe(): Promise<void>;
  controller<M extends MethodOf<'csi.v1.Controller'>>(
    method: M,
    request: RequestOf<'csi.v1.Controller', M>,
  ): Promise<ResponseIn<'csi.v1.Controller', M>>;
  node<M extends MethodOf<'csi.v1.Node'>>(
    method: M,
    request: RequestOf<'csi.v1.Node', M>,
  ): Promise<ResponseIn<'csi.v1.Node', M>>;
  /** Resolves to the id of a new volume. */
  create(wanted: WantedVolume): Promise<string>;
  /** Stages and publishes; resolves to the target. */
  publish(id: string, form?: 'mount' | 'block'): Promise<string>;
  /** The same back, and deletes it. */
  remove(id: string): Promise<void>;
}

/** Where a volume is staged and published. */
export function pathsOf(
  id: string,
): Readonly<Record<'volume_id' | 'staging_target_path' | 'target_path', string>> {
  return {
    volume_id: id,
    staging_target_path: join(PLACES, id, 'staging'),
    target_path: join(PLACES, id, 'target'),
  };
}

export function connectKubelet(): Kubelet {
  const client: RpcClient = connectRpc('/run/keelson/csi.sock');
  const controller: Kubelet['controller'] = (method, request) =>
    client.call('csi.v1.Controller', method, request, {});
  const node: Kubelet['node'] = (method, request) => client.call('csi.v1.Node', method, request, {});
  return {
    controller,
    node,
    async probe() {
      const ready = async (): Promise<true | undefined> =>
        (await client.call('csi.v1.Identity', 'Probe', {}, {})).ready?.value === true ? true : undefined;
      // Seldom: here, each try takes much of what the agent needs to start.
      await waitFor('the agent is ready', ready, { timeoutMs: 1_800_000, everyMs: 5_000 });
    },
    async create({ name, pool, form = 'mount', fsType, mebibytes = 64, mutable = {} }) {
      const bytes = String(mebibytes * 2 ** 20);
      const { volume } = await controller('CreateVolume', {
        name,
        capacity_range: { required_bytes: bytes, limit_bytes: bytes },
        volume_capabilities: [
          {
            ...capability('SINGLE_NODE_MULTI_WRITER', form),
            ...(fsType && { mount: { fs_type: fsType } }),
          },
        ],
        parameters: { pool },
        mutable_parameters: mutable,
      });
      return volume?.volume_id ?? '';
    },
    async publish(id, form = 'mount') {
      const paths = pathsOf(id);
      await mkdir(paths.staging_target_path, { recursive: true });
      const volume_capability = capability('SINGLE_NODE_MULTI_WRITER', form);
      const { target_path: _, ...staging } = paths;
      await node('NodeStageVolume', { ...staging, volume_capability });
      await node('NodePublishVolume', { ...paths, volume_capability });
      return paths.target_path;
    },
    async remove(id) {
      const { staging_target_path, ...published } = pathsOf(id);
      await node('NodeUnpublishVolume', published);
      await node('NodeUnstageVolume', { volume_id: id, staging_target_path });
      await controller('DeleteVolume', { volume_id: id });
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}
