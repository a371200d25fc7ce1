import type { RpcHandlers } from '../../src/rpc/server.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';

const SERVICES = ['CONTROLLER_SERVICE', 'VOLUME_ACCESSIBILITY_CONSTRAINTS'] as const;
const SERVICES_OF_COPIES = [
  'GROUP_CONTROLLER_SERVICE',
  'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS',
  'SNAPSHOT_METADATA_SERVICE',
] as const;

export interface IdentityOptions {
  readonly version: string;
}

export interface IdentityDeps {
  /** Whether volumes can be served: false until every pool is open. */
  readonly isReady: () => boolean;
  /**
   * Whether snapshots can be asked for. It may change while the agent runs: callers may ask at any
   * time.
   */
  readonly offersCopies: () => boolean;
}

/** CSI Identity: who this driver is and whether it is ready. */
export function createIdentity(
  { version }: IdentityOptions,
  { isReady, offersCopies }: IdentityDeps,
): RpcHandlers<'csi.v1.Identity'> {
  return {
    GetPluginInfo: async () => ({ name: DRIVER_NAME, vendor_version: version, manifest: {} }),
    GetPluginCapabilities: async () => ({
      capabilities: [
        ...[...SERVICES, ...(offersCopies() ? SERVICES_OF_COPIES : [])].map((type) => ({
          service: { type },
        })),
        { volume_expansion: { type: 'ONLINE' } },
      ],
    }),
    Probe: async () => ({ ready: { value: isReady() } }),
  };
}
