import { join } from 'node:path';
import { installCni } from '../../../node-agent/host/cni-files.ts';
import { CNI_BINARY, cniConfig } from '../../core/cni/cni-config.ts';
import { createLogger } from '../../runtime/logger.ts';
import { AGENT_FLAGS, readAgentConfig } from '../agent-flags.ts';
import { type Command, parseFlags } from '../command.ts';

const usage = 'keelson install-cni [--config FILE | --run-dir DIR] [--bin-dir DIR] [--config-dir DIR]';

export const installCniCommand: Command = {
  summary: `put the ${CNI_BINARY} binary and its configuration where the runtime of this host finds them`,
  usage,
  async run({ args }) {
    const flags = parseFlags(
      args,
      {
        config: AGENT_FLAGS.config,
        'run-dir': AGENT_FLAGS['run-dir'],
        'bin-dir': { type: 'string', default: '/opt/cni/bin' },
        'config-dir': { type: 'string', default: '/etc/cni/net.d' },
      },
      usage,
    );
    const agent = await readAgentConfig(flags);
    await installCni(
      {
        // Beside the bundle, in the image as after a build.
        binary: join(import.meta.dirname, 'cni', CNI_BINARY),
        binDir: flags['bin-dir'],
        configDir: flags['config-dir'],
        config: cniConfig({ network: agent.network.name, agentSocket: join(agent.runDir, 'cni.sock') }),
      },
      { logger: createLogger({ level: agent.logLevel, name: 'install-cni' }) },
    );
    return 0;
  },
};
