import { join } from 'node:path';
import { CNI_BINARY, cniConfig } from '../../core/cni/cni-config.ts';
import { AGENT_FLAGS, readAgentConfig } from '../agent-flags.ts';
import { type Command, parseFlags } from '../command.ts';

const usage = 'keelson cni-config [--config FILE | --run-dir DIR]';

export const cniConfigCommand: Command = {
  summary: `the network configuration for /etc/cni/net.d, which names the ${CNI_BINARY} binary`,
  usage,
  async run({ args, stdout }) {
    const { config, 'run-dir': runDir } = AGENT_FLAGS;
    const agent = await readAgentConfig(parseFlags(args, { config, 'run-dir': runDir }, usage));
    const list = cniConfig({ network: agent.network.name, agentSocket: join(agent.runDir, 'cni.sock') });
    stdout.write(`${JSON.stringify(list, undefined, 2)}\n`);
    return 0;
  },
};
