import { Fault } from '../fault.ts';

/** Default path of the agent's socket, as in the exec binary. */
const DEFAULT_CNI_SOCKET = '/run/keelson/cni.sock';
/** Name of the exec binary, which runtimes look up by the `type` of a plugin. */
export const CNI_BINARY = 'keelson-cni';

/** Options of the network configuration list. */
export interface CniConfigOptions {
  /** Name of the network; used as a file name by runtimes. */
  readonly network?: string;
  readonly agentSocket?: string;
}

/**
 * Returns the network configuration list for runtimes. `cniVersion` is for libcni before 1.2.0,
 * which fails on unknown versions and ignores `cniVersions`; others take the newest of the list,
 * and with it STATUS.
 */
export function cniConfig({
  network = 'keelson',
  agentSocket = DEFAULT_CNI_SOCKET,
}: CniConfigOptions = {}): Readonly<Record<string, unknown>> {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(network)) {
    throw new Fault(
      'invalid',
      `network name ${JSON.stringify(network)} has characters other than letters, digits, dots, dashes and underscores`,
    );
  }
  if (!agentSocket.startsWith('/')) {
    throw new Fault('invalid', `agent socket ${JSON.stringify(agentSocket)} is not an absolute path`);
  }
  return {
    cniVersion: '1.0.0',
    cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    name: network,
    plugins: [
      {
        type: CNI_BINARY,
        agent: agentSocket,
        capabilities: { portMappings: true, ips: true, mac: true },
      },
    ],
  };
}
