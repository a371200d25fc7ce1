import { join } from 'node:path';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { installCni } from '../../../node-agent/host/cni-files.ts';
import { CNI_BINARY, cniConfig } from '../../core/cni/cni-config.ts';
import { createLogger } from '../../runtime/logger.ts';
import { AGENT_OPTION, readAgentConfig } from '../agent-options.ts';

/** Creates `keelson install-cni`. */
export function installCniCommand(): CommandUnknownOpts {
  return new Command()
    .option(...AGENT_OPTION.config)
    .option(...AGENT_OPTION.runDir)
    .option('--bin-dir <dir>', 'directory of CNI plugins', '/opt/cni/bin')
    .option('--config-dir <dir>', 'directory of CNI network configurations', '/etc/cni/net.d')
    .action(async (options) => {
      const agent = await readAgentConfig(options);
      await installCni(
        {
          // Beside the bundle, in the image and in a checkout.
          binary: join(import.meta.dirname, 'cni', CNI_BINARY),
          binDir: options.binDir,
          configDir: options.configDir,
          config: cniConfig({ network: agent.network.name, agentSocket: join(agent.runDir, 'cni.sock') }),
        },
        { logger: createLogger({ level: agent.logLevel, name: 'install-cni' }) },
      );
    });
}
