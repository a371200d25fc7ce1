import { runAgent } from '../../../node-agent/main.ts';
import { createLogger } from '../../runtime/logger.ts';
import { AGENT_FLAGS, readAgentConfig } from '../agent-flags.ts';
import { type Command, parseFlags } from '../command.ts';
import { VERSION } from '../../version.ts';

const usage =
  'keelson agent [--config FILE] [--state-dir DIR] [--run-dir DIR] [--node-name NAME] [--kubelet-dir DIR] ' +
  '[--pod-range CIDR]... [--metrics-address HOST:PORT|off] [--log-level LEVEL]';

export const agentCommand: Command = {
  summary: 'serve this node: CSI volumes, pod network, kubelet plugin registration',
  usage,
  async run({ args, signal }) {
    const config = await readAgentConfig(parseFlags(args, AGENT_FLAGS, usage));
    const logger = createLogger({ level: config.logLevel, name: 'agent' });
    await runAgent({ config, version: VERSION }, { logger, signal });
    return 0;
  },
};
