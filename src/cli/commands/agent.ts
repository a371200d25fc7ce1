import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { runAgent } from '../../../node-agent/main.ts';
import { createLogger } from '../../runtime/logger.ts';
import { VERSION } from '../../version.ts';
import { AGENT_OPTION, readAgentConfig } from '../agent-options.ts';
import type { CliContext } from '../context.ts';
import { collect } from '../option-parsers.ts';

/** Creates `keelson agent`. */
export function agentCommand({ signal }: CliContext): CommandUnknownOpts {
  return new Command()
    .option(...AGENT_OPTION.config)
    .option(...AGENT_OPTION.stateDir)
    .option(...AGENT_OPTION.runDir)
    .option('--node-name <name>', 'name of the Node object (default: the host name)')
    .option('--kubelet-dir <dir>', 'directory of kubelet; enables the registration of the CSI plugin')
    .option('--pod-range <cidr>', 'range of pod addresses; may be repeated', collect)
    .option('--metrics-address <host:port>', 'address of /metrics, /healthz and /readyz, or off')
    .option(...AGENT_OPTION.logLevel)
    .action(async (options) => {
      const config = await readAgentConfig(options);
      const logger = createLogger({ level: config.logLevel, name: 'agent' });
      await runAgent({ config, version: VERSION }, { logger, signal });
    });
}
