import { join } from 'node:path';
import { createRpcServer, type RpcHandlers, type RpcServer } from '../../src/rpc/server.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';

/** Options of the registration. */
export interface RegistrationOptions {
  readonly kubeletDir: string;
  /** Path of the CSI socket on the host, where kubelet connects to it. */
  readonly endpoint: string;
}

/** Dependencies of the registration. */
export interface RegistrationDeps {
  readonly logger: Logger;
  /** Called with the reason when kubelet refuses the driver. */
  readonly onRefused: (reason: string) => void;
}

/** Creates the handlers that kubelet's plugin watcher calls. */
function createRegistration(
  { endpoint }: Pick<RegistrationOptions, 'endpoint'>,
  { logger, onRefused }: RegistrationDeps,
): RpcHandlers<'pluginregistration.Registration'> {
  return {
    GetInfo: async () => ({ type: 'CSIPlugin', name: DRIVER_NAME, endpoint, supported_versions: ['1.0.0'] }),
    async NotifyRegistrationStatus({ plugin_registered: registered, error }) {
      if (registered) logger.info({ driver: DRIVER_NAME }, 'kubelet registered the driver');
      else onRefused(error);
      return {};
    },
  };
}

/**
 * Serves the registration in kubelet's plugin directory, which kubelet watches. The socket is
 * created with mode 0600, replaces a stale one, and is removed on disposal, which unregisters the
 * driver.
 */
export async function serveRegistration(
  options: RegistrationOptions,
  deps: RegistrationDeps,
): Promise<RpcServer> {
  const server = createRpcServer({}, { logger: deps.logger });
  server.add('pluginregistration.Registration', createRegistration(options, deps));
  await server.listen(registrationSocket(options.kubeletDir));
  return server;
}

/** Returns the path of the driver's registration socket. */
export function registrationSocket(kubeletDir: string): string {
  return join(kubeletDir, 'plugins_registry', `${DRIVER_NAME}-reg.sock`);
}
