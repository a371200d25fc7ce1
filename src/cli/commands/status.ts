import { join } from 'node:path';
import { getFromAgent } from '../../runtime/admin-client.ts';
import { type Command, OUTPUT_FLAG, outputFormat, parseFlags } from '../command.ts';
import type { AgentStatus } from '../../core/inventory/agent-status.ts';
import { renderStatus } from '../output/status-text.ts';

const usage = 'keelson status [--run-dir DIR] [-o text|json]';

export const statusCommand: Command = {
  summary: 'what the agent of this node serves: pools, volumes, pod addresses',
  usage,
  async run({ args, signal, stdout }) {
    const flags = parseFlags(
      args,
      { ...OUTPUT_FLAG, 'run-dir': { type: 'string', default: '/run/keelson' } },
      usage,
    );
    const status = await getFromAgent(join(flags['run-dir'], 'admin.sock'), '/status', signal);
    stdout.write(
      outputFormat(flags.output) === 'json'
        ? `${JSON.stringify(status)}\n`
        : renderStatus(status as AgentStatus),
    );
    return 0;
  },
};
