import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { connectRpc, type RpcClient } from '../../src/rpc/client.ts';
import type { CreateVolumeRequest } from '../../src/rpc/gen/csi/v1/CreateVolumeRequest.ts';
import type { VolumeCapability } from '../../src/rpc/gen/csi/v1/VolumeCapability.ts';

const MIB = 2 ** 20;
/** Peers that copy need their time for the largest volume. */
const TIMEOUT_MS = 900_000;
const CAPABILITY: VolumeCapability = { mount: {}, access_mode: { mode: 'SINGLE_NODE_WRITER' } };

export interface CsiTargetOptions {
  readonly socket: string;
  /** For staging and publishing; made and removed here. */
  readonly directory: string;
  readonly parameters?: Readonly<Record<string, string>>;
}

/** A CSI driver on this machine, ours or a peer's, as a provisioner and kubelet call it. */
export class CsiTarget implements AsyncDisposable {
  readonly #options: CsiTargetOptions;
  readonly #client: RpcClient;
  readonly #stages: boolean;

  private constructor(options: CsiTargetOptions, client: RpcClient, stages: boolean) {
    this.#options = options;
    this.#client = client;
    this.#stages = stages;
  }

  /** Rejects when the socket has no listener. */
  static async open(options: CsiTargetOptions): Promise<CsiTarget> {
    const client = connectRpc(options.socket);
    try {
      const { capabilities } = await client.call(
        'csi.v1.Node',
        'NodeGetCapabilities',
        {},
        { timeoutMs: 10_000 },
      );
      const stages = capabilities?.some(({ rpc }) => rpc?.type === 'STAGE_UNSTAGE_VOLUME') ?? false;
      await mkdir(options.directory, { recursive: true });
      return new CsiTarget(options, client, stages);
    } catch (error) {
      client[Symbol.dispose]();
      throw error;
    }
  }

  /** Resolves to the name and version that it gives itself. */
  async describe(): Promise<string> {
    const { name, vendor_version: version } = await this.#client.call('csi.v1.Identity', 'GetPluginInfo', {});
    return `${name} ${version}`;
  }

  async createVolume(
    name: string,
    sizeMib: number,
    source?: CreateVolumeRequest['volume_content_source'],
  ): Promise<string> {
    const bytes = String(sizeMib * MIB);
    const { volume } = await this.#client.call(
      'csi.v1.Controller',
      'CreateVolume',
      {
        name,
        capacity_range: { required_bytes: bytes, limit_bytes: bytes },
        volume_capabilities: [CAPABILITY],
        parameters: this.#options.parameters ?? {},
        ...(source === undefined ? {} : { volume_content_source: source }),
      },
      { timeoutMs: TIMEOUT_MS },
    );
    return volume?.volume_id ?? '';
  }

  async restore(name: string, sizeMib: number, snapshotId: string): Promise<string> {
    return await this.createVolume(name, sizeMib, { snapshot: { snapshot_id: snapshotId } });
  }

  async deleteVolume(id: string): Promise<void> {
    await this.#client.call(
      'csi.v1.Controller',
      'DeleteVolume',
      { volume_id: id },
      { timeoutMs: TIMEOUT_MS },
    );
  }

  /** Resolves when the snapshot can be restored. */
  async createSnapshot(name: string, volumeId: string): Promise<string> {
    for (;;) {
      const request = { name, source_volume_id: volumeId };
      const { snapshot } = await this.#client.call('csi.v1.Controller', 'CreateSnapshot', request, {
        timeoutMs: TIMEOUT_MS,
      });
      if (snapshot?.ready_to_use === true) return snapshot.snapshot_id;
    }
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.#client.call(
      'csi.v1.Controller',
      'DeleteSnapshot',
      { snapshot_id: id },
      { timeoutMs: TIMEOUT_MS },
    );
  }

  /**
   * Writes a file of so many bytes that nothing can compress, and sees it on disk; resolves to its
   * digest.
   */
  async fill(id: string, dataMib: number): Promise<string> {
    return await this.#published(id, async (target) => {
      const hash = createHash('sha256');
      const file = await open(join(target, 'data'), 'w');
      try {
        for (let written = 0; written < dataMib; written += 1) {
          const block = randomBytes(MIB);
          hash.update(block);
          await file.writeFile(block);
        }
        await file.sync();
      } finally {
        await file.close();
      }
      return hash.digest('hex');
    });
  }

  /** The digest of what `fill` wrote. */
  async digest(id: string): Promise<string> {
    return await this.#published(id, async (target) => {
      const hash = createHash('sha256');
      const file = await open(join(target, 'data'), 'r');
      try {
        for await (const chunk of file.createReadStream({ highWaterMark: MIB })) hash.update(chunk as Buffer);
      } finally {
        await file.close();
      }
      return hash.digest('hex');
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    await rm(this.#options.directory, { recursive: true, force: true });
  }

  /** Stages and publishes the volume as kubelet does, and takes it back after `use`. */
  async #published<T>(id: string, use: (target: string) => Promise<T>): Promise<T> {
    await using undo = new AsyncDisposableStack();
    const key = createHash('sha256').update(id).digest('hex').slice(0, 16);
    const staging = join(this.#options.directory, `staging-${key}`);
    const target = join(this.#options.directory, `target-${key}`);
    const call = { volume_id: id, volume_capability: CAPABILITY };
    if (this.#stages) {
      await mkdir(staging, { recursive: true });
      await this.#client.call('csi.v1.Node', 'NodeStageVolume', { ...call, staging_target_path: staging });
      undo.defer(async () => {
        await this.#client.call('csi.v1.Node', 'NodeUnstageVolume', {
          volume_id: id,
          staging_target_path: staging,
        });
      });
    }
    await this.#client.call('csi.v1.Node', 'NodePublishVolume', {
      ...call,
      target_path: target,
      ...(this.#stages ? { staging_target_path: staging } : {}),
    });
    undo.defer(async () => {
      await this.#client.call('csi.v1.Node', 'NodeUnpublishVolume', { volume_id: id, target_path: target });
    });
    return await use(target);
  }
}

/** The path of `unix:///path`, `unix:/path` or `/path`. Throws `invalid`. */
export function socketPath(endpoint: string): string {
  const path = endpoint.replace(/^unix:(\/\/)?/, '');
  if (path.startsWith('/')) return path;
  throw new Fault(
    'invalid',
    `PEER_CSI ${endpoint}: give the driver's socket, such as unix:///run/driver/csi.sock`,
  );
}
