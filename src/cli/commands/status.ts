import { join } from 'node:path';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import type { AgentStatus } from '../../core/inventory/agent-status.ts';
import { getFromAgent } from '../../runtime/admin-client.ts';
import type { CliContext } from '../context.ts';
import { formatOutput, outputOption } from '../output/output.ts';
import { renderStatus } from '../output/status-text.ts';

/** Creates `keelson status`. */
export function statusCommand({ signal, stdout }: CliContext): CommandUnknownOpts {
  return new Command()
    .option('--run-dir <dir>', 'directory of the sockets of the agent', '/run/keelson')
    .addOption(outputOption())
    .action(async ({ runDir, output }) => {
      const status = (await getFromAgent(join(runDir, 'admin.sock'), '/status', signal)) as AgentStatus;
      stdout.write(formatOutput(output, status, (wide) => renderStatus(status, wide)));
    });
}
