import { type MetricObject, Registry } from 'prom-client';
import { createRpcMetrics } from '../../node-agent/compose/rpc-metrics.ts';
import { createCriMetrics } from '../../node-agent/cri/metrics.ts';
import { registerPoolMetrics } from '../../node-agent/storage/health/pool-metrics.ts';
import { OperationRunner } from '../../node-agent/storage/operations/operation-runner.ts';
import { createControllerMetrics } from '../../src/controller/context/metrics.ts';
import { createKubeMetrics } from '../../src/kube/metrics.ts';
import { code, NOTICE, table } from './table.ts';

interface Alert {
  readonly name: string;
  readonly expression: string;
  readonly meaning: string;
}

/** Alerts that an administrator can take over; every metric in them must exist. */
const ALERTS: readonly Alert[] = [
  {
    name: 'PoolUnhealthy',
    expression: 'keelson_pool_healthy == 0',
    meaning: 'For 5 minutes: a pool is not open, or does not enforce sizes. See troubleshooting.',
  },
  {
    name: 'PoolNearlyFull',
    expression:
      'keelson_pool_bytes{state="available"} / ignoring(state) keelson_pool_bytes{state="total"} < 0.1',
    meaning: 'Less than 10 % of a pool is available to new volumes.',
  },
  {
    name: 'RecordQuarantined',
    expression: 'keelson_storage_quarantined_records > 0',
    meaning: 'A record on disk cannot be read; its volume is unavailable.',
  },
  {
    name: 'StorageOperationsFail',
    expression: 'rate(keelson_storage_operations_total{outcome="bug"}[10m]) > 0',
    meaning: 'An operation failed with an internal error; the log of the agent has it.',
  },
  {
    name: 'ClaimsRefused',
    expression: 'rate(keelson_controller_claim_refusals_total[15m]) > 0',
    meaning: 'For 15 minutes: claims cannot be provisioned; `kubectl keelson status` lists them.',
  },
  {
    name: 'ControllerBacklog',
    expression: 'keelson_controller_queue_depth > 100',
    meaning: 'For 10 minutes: a work queue of the controller grows.',
  },
  {
    name: 'PolicyFilesBad',
    expression: 'keelson_cri_policy_files_bad > 0',
    meaning: 'A policy file has errors; its last valid content stays in force.',
  },
  {
    name: 'RuntimeUnreachable',
    expression: 'keelson_cri_runtime_connections == 0',
    meaning: 'For 1 minute, while kubelet runs: the proxy has no connection to the runtime.',
  },
  {
    name: 'LabelRulesBroken',
    expression: 'keelson_controller_label_rules > 0',
    meaning: 'A NodeLabelRule is invalid, fails on a node, or conflicts with another owner.',
  },
];

/** Returns the page of all metrics, by process, and of the recommended alerts. */
export function metricsPage(): string {
  const processes = [
    ['Agent', 'Port 9810 of each node.', agentRegistry()],
    ['Controller', 'Port 9812 of its pods.', controllerRegistry()],
    ['CRI proxy', '`127.0.0.1:9811` of its host.', proxyRegistry()],
  ] as const;
  checkAlerts(processes.flatMap(([, , registry]) => registry.getMetricsAsArray().map(({ name }) => name)));
  return [
    NOTICE,
    '# Metrics and alerts',
    'Each process serves `/metrics`, `/healthz` and `/readyz`. Each also has the default metrics of prom-client (`process_*`, `nodejs_*`).',
    ...processes.flatMap(([title, where, registry]) => [`## ${title}`, where, metricsTable(registry)]),
    '## Alerts',
    'Recommended expressions for Prometheus.',
    table(
      ['Alert', 'Expression', 'Meaning'],
      ALERTS.map(({ name, expression, meaning }) => [code(name), code(expression), meaning]),
    ),
    '',
  ].join('\n\n');
}

function agentRegistry(): Registry {
  const registry = new Registry();
  createRpcMetrics(registry);
  new OperationRunner({ metrics: registry });
  registerPoolMetrics(registry, { readPools: () => Promise.resolve([]), countQuarantined: () => 0 });
  createKubeMetrics(registry);
  return registry;
}

function controllerRegistry(): Registry {
  const registry = new Registry();
  createControllerMetrics(registry);
  createKubeMetrics(registry);
  return registry;
}

function proxyRegistry(): Registry {
  const registry = new Registry();
  createCriMetrics(registry);
  return registry;
}

function metricsTable(registry: Registry): string {
  const rows = registry.getMetricsAsArray().map((metric) => {
    // prom-client has these at run time, not in its types.
    const { labelNames = [] } = metric as MetricObject & { readonly labelNames?: readonly string[] };
    return [code(metric.name), typeOf(metric), labelNames.map(code).join(', '), metric.help];
  });
  return table(
    ['Metric', 'Type', 'Labels', 'Meaning'],
    rows.sort(([a = ''], [b = '']) => a.localeCompare(b)),
  );
}

function typeOf(metric: MetricObject): string {
  return metric.constructor.name.toLowerCase();
}

function checkAlerts(names: readonly string[]): void {
  for (const { name, expression } of ALERTS) {
    for (const [metric] of expression.matchAll(/keelson_[a-z_]+/g)) {
      if (!names.includes(metric)) throw new Error(`alert ${name}: metric ${metric} does not exist`);
    }
  }
}
