import { Command, type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { SNAPSHOT_MODES } from '../../controller/snapshots/snapshot-reconcilers.ts';
import { LOG_LEVELS } from '../../runtime/logger.ts';
import type { CliContext } from '../context.ts';
import { parsePositive } from '../option-parsers.ts';
import { runControllerProcess } from '../processes/controller.ts';

/**
 * Requests a second. Limits a runaway loop; the workers limit the load. A claim takes about six
 * requests, and Kubernetes binds up to 80 claims a second.
 */
const DEFAULT_QPS = 500;

/** Creates `keelson controller`. */
export function controllerCommand({ env, signal }: CliContext): CommandUnknownOpts {
  return new Command()
    .option('--kubeconfig <file>', 'kubeconfig (default: as kubectl, then the service account)')
    .option('--namespace <name>', "namespace of the controller (default: the context's)")
    .option('--workers <n>', 'claims and volumes reconciled at a time', parsePositive, 20)
    .option('--qps <n>', 'requests a second to the API server', parsePositive, DEFAULT_QPS)
    .option('--no-leader-election', 'run without a Lease')
    .option('--no-default-labels', 'do not create the default NodeLabelRules')
    .addOption(
      new Option('--snapshots <mode>', 'which parts of snapshots to reconcile')
        .choices(SNAPSHOT_MODES)
        .default('auto' as const),
    )
    .option(
      '--metrics-address <host:port>',
      'address of /metrics, /healthz and /readyz, or off',
      '127.0.0.1:9812',
    )
    .addOption(new Option('--log-level <level>', 'log level').choices(LOG_LEVELS).default('info' as const))
    .action(async (options) => await runControllerProcess(options, { env, signal }));
}
