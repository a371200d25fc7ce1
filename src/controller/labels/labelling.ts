import { NODE_LABEL_RULES, type NodeLabelRule } from '../../api/node-label-rule.ts';
import { Informer } from '../../kube/informer.ts';
import { BoundedRunner } from '../../runtime/bounded-runner.ts';
import { type Reconciler, type ControllerContext, subscriptions } from '../context/controller-context.ts';
import { NodeLabeller, type NodeLabellerOptions } from './node-labeller.ts';
import { RuleBook } from './rule-book.ts';
import type { RuleEvaluator } from './rule-evaluator.ts';
import { RuleReports, writeRuleStatuses } from './rule-reports.ts';

/** Batches changes: ten rules applied together are one or two writes to a node. */
const BATCH_MS = 250;
const STATUS_MS = 1_000;
const RETRY_MS = 5_000;
const HOUR_MS = 3_600_000;
const WORKERS = 4;

/**
 * Creates the reconciler of labels, taints and extended resources of nodes, and of the statuses of
 * NodeLabelRules. Keys are names of nodes.
 */
export function createNodeLabeller(
  context: Pick<ControllerContext, 'client' | 'metrics' | 'logger' | 'clock' | 'informerDeps' | 'queue'> & {
    readonly cluster: Pick<ControllerContext['cluster'], 'nodes' | 'inventories'>;
  },
  { evaluator, ...options }: NodeLabellerOptions & { readonly evaluator: RuleEvaluator },
): Reconciler {
  const { cluster, logger, clock, informerDeps } = context;
  const { nodes, inventories } = cluster;
  const metrics = context.metrics.labels;
  const rules = new Informer<NodeLabelRule>({ resource: NODE_LABEL_RULES }, informerDeps);
  const book = new RuleBook(rules.store);
  const nodeNames = (): Iterable<string> => nodes.store.keys();
  const statuses: BoundedRunner = new BoundedRunner(
    { name: 'rule-statuses', minIntervalMs: STATUS_MS, maxIntervalMs: HOUR_MS, retryMs: RETRY_MS },
    (signal) => writeRuleStatuses({ ...context, rules, book, reports, nodeNames, metrics }, signal),
    { logger, clock },
  );
  const reports = new RuleReports(() => statuses.poke());
  const deps = { ...context, nodes, inventories, book, evaluator, reports, metrics };
  const labeller = new NodeLabeller(options, deps);
  const queue = context.queue('labels', WORKERS, (node, signal) => labeller.reconcile(node, signal));
  const touched = new Set<string>();
  const gather = new BoundedRunner(
    { name: 'label-changes', minIntervalMs: BATCH_MS, maxIntervalMs: HOUR_MS, retryMs: RETRY_MS },
    async () => {
      for (const node of touched) queue.add(node);
      touched.clear();
    },
    { logger, clock },
  );
  const touch = (...names: readonly string[]): void => {
    for (const name of names) touched.add(name);
    gather.poke();
  };
  return {
    informers: { rules },
    queue: {
      run: async (signal) => {
        await Promise.all([queue, gather, statuses].map((loop) => loop.run(signal)));
      },
    },
    subscribe: () =>
      subscriptions(
        nodes.subscribe(({ key }) => touch(key)),
        inventories.subscribe(({ key }) => touch(key)),
        rules.subscribe(({ previous, current }) => {
          // Ignores the controller's own writes to the status.
          if (previous !== undefined && current !== undefined && isSameRule(previous, current)) return;
          book.changed();
          touch(...nodes.store.keys());
          statuses.poke();
        }),
      ),
  };
}

function isSameRule({ metadata: a }: NodeLabelRule, { metadata: b }: NodeLabelRule): boolean {
  return a?.uid === b?.uid && a?.generation === b?.generation;
}
