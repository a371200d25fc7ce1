import { uninstallNode } from '../../../node-agent/uninstall.ts';
import { createLogger } from '../../runtime/logger.ts';
import { AGENT_FLAGS, readAgentConfig } from '../agent-flags.ts';
import { type Command, parseFlags } from '../command.ts';

const usage =
  'keelson uninstall-node [--config FILE | --state-dir DIR --run-dir DIR] [--bin-dir DIR] [--config-dir DIR] [--delete-data]';

export const uninstallNodeCommand: Command = {
  summary: 'take from this node what an agent has put there; its volumes too with --delete-data',
  usage,
  async run({ args }) {
    const flags = parseFlags(
      args,
      {
        config: AGENT_FLAGS.config,
        'run-dir': AGENT_FLAGS['run-dir'],
        'state-dir': AGENT_FLAGS['state-dir'],
        'bin-dir': { type: 'string', default: '/opt/cni/bin' },
        'config-dir': { type: 'string', default: '/etc/cni/net.d' },
        'delete-data': { type: 'boolean', default: false },
      },
      usage,
    );
    const config = await readAgentConfig(flags);
    await uninstallNode(
      {
        config,
        cni: { binDir: flags['bin-dir'], configDir: flags['config-dir'] },
        deleteData: flags['delete-data'],
      },
      { logger: createLogger({ level: config.logLevel, name: 'uninstall-node' }) },
    );
    return 0;
  },
};
