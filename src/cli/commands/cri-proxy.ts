import { Command, type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { LOG_LEVELS } from '../../runtime/logger.ts';
import type { CliContext } from '../context.ts';
import { collect } from '../option-parsers.ts';
import { runCriProxyProcess } from '../processes/cri-proxy.ts';

/** Creates `keelson cri-proxy`. */
export function criProxyCommand({ env, signal }: CliContext): CommandUnknownOpts {
  return new Command()
    .requiredOption('--listen <socket>', 'socket that kubelet connects to')
    .requiredOption('--runtime <socket>', 'socket of the container runtime')
    .option('--policies <dir>', 'directory of RuntimePolicies; may be repeated', collect)
    .option('--admin-socket <socket>', 'socket for the agent (default: beside --listen)')
    .option(
      '--metrics-address <host:port>',
      'address of /metrics, /healthz and /readyz, or off',
      '127.0.0.1:9811',
    )
    .addOption(new Option('--log-level <level>', 'log level').choices(LOG_LEVELS).default('info' as const))
    .action(async (options) => await runCriProxyProcess(options, { env, signal }));
}
