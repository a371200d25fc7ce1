import type { RpcHandlers } from '../../src/rpc/server.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';

const SERVICES = ['CONTROLLER_SERVICE', 'VOLUME_ACCESSIBILITY_CONSTRAINTS'] as const;
const COPY_SERVICES = [
  'GROUP_CONTROLLER_SERVICE',
  'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS',
  'SNAPSHOT_METADATA_SERVICE',
] as const;

/** Options of the Identity service. */
export interface IdentityOptions {
  readonly version: string;
}

/** Dependencies of the Identity service. */
export interface IdentityDeps {
  /** Whether volumes can be served. */
  readonly isReady: () => boolean;
  /** Whether the node offers snapshots; it may change while the agent runs. */
  readonly offersCopies: () => boolean;
}

/** Creates the CSI Identity service. */
export function createIdentity(
  { version }: IdentityOptions,
  { isReady, offersCopies }: IdentityDeps,
): RpcHandlers<'csi.v1.Identity'> {
  return {
    GetPluginInfo: async () => ({ name: DRIVER_NAME, vendor_version: version, manifest: {} }),
    GetPluginCapabilities: async () => ({
      capabilities: [
        ...[...SERVICES, ...(offersCopies() ? COPY_SERVICES : [])].map((type) => ({
          service: { type },
        })),
        { volume_expansion: { type: 'ONLINE' } },
      ],
    }),
    Probe: async () => ({ ready: { value: isReady() } }),
  };
}
