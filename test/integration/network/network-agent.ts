import type { NetworkOptions, NetworkSettings, NetworkStatus } from '../../../node-agent/network/network.ts';
import { openNetwork } from '../../../node-agent/network/open-network.ts';
import { removeNetwork } from '../../../node-agent/network/removal.ts';
import { serveCni } from '../../../node-agent/cni/server.ts';
import { createLogger, type LogLevel } from '../../../src/runtime/logger.ts';

/**
 * The network part of the agent as a process of its own, so that tests can put it into a network
 * namespace, stop it and kill it.
 */
export interface AgentSettings extends NetworkOptions {
  readonly socketPath: string;
  readonly logLevel: LogLevel;
}

export type AgentCommand =
  | 'maintain'
  | 'list'
  | 'status'
  | 'reports'
  | 'uninstall'
  | 'stop'
  | { readonly configure: NetworkSettings };

const settings = JSON.parse(process.argv[2] ?? '{}') as AgentSettings;
const logger = createLogger({ level: settings.logLevel, name: 'network-agent' });
/** The network's status at each of its notifications. */
const reports: Pick<NetworkStatus, 'strays' | 'unreachable'>[] = [];
const network = await openNetwork(settings, {
  logger,
  onStatus() {
    const { strays, unreachable } = network.measure();
    reports.push({ strays, unreachable });
  },
});
const server = await serveCni({ socketPath: settings.socketPath, aliveEveryMs: 500 }, { network, logger });

async function stop(): Promise<void> {
  await server[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
}

async function obey(command: AgentCommand): Promise<unknown> {
  let result: unknown;
  if (typeof command === 'object') {
    await network.configure(command.configure);
    const { ranges, strays, unreachable } = network.measure();
    return { ranges, strays, unreachable };
  }
  switch (command) {
    case 'maintain':
      await network.maintain();
      break;
    case 'list':
      result = network.list();
      break;
    case 'status': {
      const { attachments, addresses, mtu } = network.status();
      result = { attachments, mtu, inUse: addresses.map(({ inUse }) => inUse) };
      break;
    }
    case 'reports':
      result = reports;
      break;
    case 'uninstall':
      await stop();
      await removeNetwork(settings, { logger });
      break;
    case 'stop':
      await stop();
      break;
  }
  return result;
}

process.on('message', (command: AgentCommand) => {
  void obey(command).then((result) => {
    process.send?.({ command, result });
    if (command === 'stop') process.disconnect();
  });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ command: 'ready' });
