import { Fault } from '../fault.ts';

/** The agent's socket unless a configuration says otherwise; the exec binary has the same default. */
export const DEFAULT_CNI_SOCKET = '/run/keelson/cni.sock';
/** The name of the exec binary, which runtimes look for as the `type` of a plugin. */
export const CNI_BINARY = 'keelson-cni';

export interface CniConfigOptions {
  /** The network's name; file systems and runtimes use it as a file name. */
  readonly network?: string;
  readonly agentSocket?: string;
}

/**
 * The network configuration list for runtimes. `cniVersion` is for those that know no `cniVersions` (libcni before 1.2.0) and fail
 * on one they do not know; the others take the newest of the list, and with it STATUS.
 */
export function cniConfig({
  network = 'keelson',
  agentSocket = DEFAULT_CNI_SOCKET,
}: CniConfigOptions = {}): Readonly<Record<string, unknown>> {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(network)) {
    throw new Fault(
      'invalid',
      `network name ${JSON.stringify(network)} is not letters, digits, dots, dashes and underscores`,
    );
  }
  if (!agentSocket.startsWith('/')) {
    throw new Fault('invalid', `agent socket ${JSON.stringify(agentSocket)} is no absolute path`);
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
