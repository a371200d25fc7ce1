import { join } from 'node:path';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { cniConfig } from '../../core/cni/cni-config.ts';
import { AGENT_OPTION, readAgentConfig } from '../agent-options.ts';
import type { CliContext } from '../context.ts';
import { formatOutput, outputOption } from '../output/output.ts';

/** Creates `keelson cni-config`. */
export function cniConfigCommand({ stdout }: CliContext): CommandUnknownOpts {
  return new Command()
    .option(...AGENT_OPTION.config)
    .option(...AGENT_OPTION.runDir)
    .addOption(outputOption())
    .action(async ({ output, ...options }) => {
      const { network, runDir } = await readAgentConfig(options);
      const list = cniConfig({ network: network.name, agentSocket: join(runDir, 'cni.sock') });
      // Container runtimes read JSON alone, so that is the text.
      stdout.write(formatOutput(output === 'yaml' ? 'yaml' : 'json', list, () => ''));
    });
}
