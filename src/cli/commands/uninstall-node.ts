import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { uninstallNode } from '../../../node-agent/compose/uninstall.ts';
import { createLogger } from '../../runtime/logger.ts';
import { AGENT_OPTION, readAgentConfig } from '../agent-options.ts';

/** Creates `keelson uninstall-node`. */
export function uninstallNodeCommand(): CommandUnknownOpts {
  return new Command()
    .option(...AGENT_OPTION.config)
    .option(...AGENT_OPTION.stateDir)
    .option(...AGENT_OPTION.runDir)
    .option('--bin-dir <dir>', 'directory of CNI plugins', '/opt/cni/bin')
    .option('--config-dir <dir>', 'directory of CNI network configurations', '/etc/cni/net.d')
    .option('--delete-data', 'delete all pools and volumes too', false)
    .action(async ({ binDir, configDir, deleteData, ...options }) => {
      const config = await readAgentConfig(options);
      await uninstallNode(
        { config, cni: { binDir, configDir }, deleteData },
        { logger: createLogger({ level: config.logLevel, name: 'uninstall-node' }) },
      );
    });
}
