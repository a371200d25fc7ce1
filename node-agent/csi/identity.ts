import type { RpcHandlers } from '../../src/rpc/server.ts';
import { DRIVER_NAME } from '../../src/core/driver.ts';

export interface IdentityOptions {
  readonly version: string;
}

export interface IdentityDeps {
  /** Whether volumes can be served: false until every pool is open. */
  readonly isReady: () => boolean;
}

/** CSI Identity: who this driver is and whether it is ready. */
export function createIdentity(
  { version }: IdentityOptions,
  { isReady }: IdentityDeps,
): RpcHandlers<'csi.v1.Identity'> {
  return {
    GetPluginInfo: async () => ({ name: DRIVER_NAME, vendor_version: version, manifest: {} }),
    GetPluginCapabilities: async () => ({
      capabilities: [
        { service: { type: 'CONTROLLER_SERVICE' } },
        { service: { type: 'GROUP_CONTROLLER_SERVICE' } },
        { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' } },
        { service: { type: 'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS' } },
        { service: { type: 'SNAPSHOT_METADATA_SERVICE' } },
        { volume_expansion: { type: 'ONLINE' } },
      ],
    }),
    Probe: async () => ({ ready: { value: isReady() } }),
  };
}
