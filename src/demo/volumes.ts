import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { CallOptions, RpcClient } from '../rpc/client.ts';
import type { VolumeCapability } from '../rpc/gen/csi/v1/VolumeCapability.ts';

export interface Volume {
  readonly id: string;
  readonly sizeBytes: bigint;
  readonly context: Readonly<Record<string, string>>;
}

export interface Snapshot {
  readonly id: string;
  readonly ready: boolean;
}

/** Where kubelet would stage and publish a volume. */
export interface MountPaths {
  readonly staging: string;
  readonly target: string;
}

const CAPABILITY: VolumeCapability = {
  mount: { fs_type: '', mount_flags: [] },
  access_mode: { mode: 'SINGLE_NODE_WRITER' },
};

/** The CSI calls for the life cycle of a volume. */
export class CsiDriver {
  readonly #client: RpcClient;

  constructor(client: RpcClient) {
    this.#client = client;
  }

  /** Resolves if the driver is ready. */
  async probe(options: CallOptions): Promise<void> {
    const { ready } = await this.#client.call('csi.v1.Identity', 'Probe', {}, options);
    if (ready?.value === false) throw new Fault('unavailable', 'the driver is not ready');
  }

  /** Returns name and version of the driver. */
  async pluginInfo(options: CallOptions): Promise<string> {
    const info = await this.#client.call('csi.v1.Identity', 'GetPluginInfo', {}, options);
    return `${info.name} ${info.vendor_version}`;
  }

  /** Returns the capacity for new volumes. */
  async availableBytes(options: CallOptions): Promise<bigint> {
    const request = { volume_capabilities: [] };
    const { available_capacity: available } = await this.#client.call(
      'csi.v1.Controller',
      'GetCapacity',
      request,
      options,
    );
    return BigInt(available);
  }

  /** Creates a volume, empty or from a snapshot. */
  async createVolume(
    name: string,
    sizeBytes: bigint,
    snapshotId: string | undefined,
    options: CallOptions,
  ): Promise<Volume> {
    const { volume } = await this.#client.call(
      'csi.v1.Controller',
      'CreateVolume',
      {
        name,
        capacity_range: { required_bytes: String(sizeBytes), limit_bytes: String(sizeBytes) },
        volume_capabilities: [CAPABILITY],
        ...(snapshotId === undefined
          ? {}
          : { volume_content_source: { snapshot: { snapshot_id: snapshotId } } }),
      },
      options,
    );
    if (volume === null) throw new Fault('precondition', `CreateVolume ${name} returned no volume`);
    return { id: volume.volume_id, sizeBytes: BigInt(volume.capacity_bytes), context: volume.volume_context };
  }

  async deleteVolume(id: string, options: CallOptions): Promise<void> {
    await this.#client.call('csi.v1.Controller', 'DeleteVolume', { volume_id: id }, options);
  }

  async createSnapshot(name: string, volumeId: string, options: CallOptions): Promise<Snapshot> {
    const { snapshot } = await this.#client.call(
      'csi.v1.Controller',
      'CreateSnapshot',
      { name, source_volume_id: volumeId },
      options,
    );
    if (snapshot === null) {
      throw new Fault('precondition', `CreateSnapshot ${name} returned no snapshot`);
    }
    return { id: snapshot.snapshot_id, ready: snapshot.ready_to_use };
  }

  async deleteSnapshot(id: string, options: CallOptions): Promise<void> {
    await this.#client.call('csi.v1.Controller', 'DeleteSnapshot', { snapshot_id: id }, options);
  }

  /** Stages and publishes a volume; creates the parent of the target (CSI NodePublishVolume). */
  async mountVolume(volume: Volume, { staging, target }: MountPaths, options: CallOptions): Promise<void> {
    await Promise.all([mkdir(staging, { recursive: true }), mkdir(dirname(target), { recursive: true })]);
    const common = {
      volume_id: volume.id,
      staging_target_path: staging,
      volume_capability: CAPABILITY,
      volume_context: { ...volume.context },
    };
    await this.#client.call('csi.v1.Node', 'NodeStageVolume', common, options);
    await this.#client.call('csi.v1.Node', 'NodePublishVolume', { ...common, target_path: target }, options);
  }

  /** Reverts a complete or partial `mountVolume`. */
  async unmountVolume(id: string, { staging, target }: MountPaths, options: CallOptions): Promise<void> {
    const node = 'csi.v1.Node';
    await this.#client.call(node, 'NodeUnpublishVolume', { volume_id: id, target_path: target }, options);
    await this.#client.call(
      node,
      'NodeUnstageVolume',
      { volume_id: id, staging_target_path: staging },
      options,
    );
  }

  /** Returns NodeGetVolumeStats, which kubelet exports as metrics. */
  async volumeUsage(
    id: string,
    path: string,
    options: CallOptions,
  ): Promise<{ readonly usedBytes: bigint; readonly totalBytes: bigint }> {
    const { usage } = await this.#client.call(
      'csi.v1.Node',
      'NodeGetVolumeStats',
      { volume_id: id, volume_path: path },
      options,
    );
    const bytes = usage.find(({ unit }) => unit === 'BYTES');
    return { usedBytes: BigInt(bytes?.used ?? 0), totalBytes: BigInt(bytes?.total ?? 0) };
  }
}
