import { join } from 'node:path';
import { createRpcServer, type RpcHandlers, type RpcServer } from '../../src/rpc/server.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';

export interface RegistrationOptions {
  readonly kubeletDir: string;
  /** The CSI socket as kubelet sees it, on the host. */
  readonly endpoint: string;
}

export interface RegistrationDeps {
  readonly logger: Logger;
  /** Told when kubelet refuses the driver, with its reason. */
  readonly onRefused: (reason: string) => void;
}

/** kubelet's plugin registration: the handlers that its plugin watcher calls. */
export function createRegistration(
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
 * Serves the registration in kubelet's plugin directory, where kubelet finds it by itself. The
 * socket has mode 0600 from its first moment, replaces a stale one, and is removed when the server
 * is disposed: kubelet then forgets the driver.
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

export function registrationSocket(kubeletDir: string): string {
  return join(kubeletDir, 'plugins_registry', `${DRIVER_NAME}-reg.sock`);
}
