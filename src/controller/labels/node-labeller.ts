import type { NodeInventory } from '../../api/node-inventory.ts';
import { type DefaultLabels, defaultLabels, NO_DEFAULT_LABELS } from '../../core/labels/default-labels.ts';
import { isFault } from '../../core/fault.ts';
import { type NodeLabelPlan, ownedOf, planNode } from '../../core/labels/node-label-plan.ts';
import { resolveRules, type RuleResult } from '../../core/labels/label-resolve.ts';
import { type Node, NODES } from '../../kube/built-in.ts';
import type { KubeClient, Patch } from '../../kube/client.ts';
import type { Informer } from '../../kube/informer.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { LabelMetrics, NodePart } from '../context/label-metrics.ts';
import {
  LABELS_MANAGER,
  nodeStateOf,
  RESOURCES_MANAGER,
  TAINTS_ANNOTATION,
  TAINTS_MANAGER,
} from '../context/node-state.ts';
import type { RuleBook } from './rule-book.ts';
import type { RuleEvaluator } from './rule-evaluator.ts';
import type { RuleReports } from './rule-reports.ts';

export interface NodeLabellerOptions {
  /** Whether nodes get the default labels. */
  readonly defaultLabels: boolean;
}

export interface NodeLabellerDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly nodes: Informer<Node>;
  readonly inventories: Informer<NodeInventory>;
  readonly book: RuleBook;
  readonly evaluator: RuleEvaluator;
  readonly reports: RuleReports;
  readonly metrics: LabelMetrics;
  readonly logger: Logger;
}

/**
 * Applies labels, taints and extended resources to nodes, and removes those that no rule grants any
 * more.
 */
export class NodeLabeller {
  readonly #options: NodeLabellerOptions;
  readonly #deps: NodeLabellerDeps;

  constructor(options: NodeLabellerOptions, deps: NodeLabellerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Applies what the node `name` lacks; does not write when nothing changed. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { nodes, inventories, reports } = this.#deps;
    const inventory = inventories.store.get(name)?.status;
    const defaults = this.#options.defaultLabels ? defaultLabels(inventory ?? {}) : NO_DEFAULT_LABELS;
    const results = await this.#evaluate(name, inventory, defaults);
    const node = nodes.store.get(name);
    if (node === undefined) {
      reports.forget(name);
      return undefined;
    }
    const state = nodeStateOf(node);
    const resolution = resolveRules(results, defaults, ownedOf(state));
    const plan = planNode(state, resolution);
    reports.note(name, results, [...resolution.overruled, ...plan.foreign]);
    if (node.metadata?.deletionTimestamp !== undefined) return undefined;
    try {
      await this.#write(node, plan, signal);
    } catch (error) {
      // Changed, replaced or deleted meanwhile: the informer triggers the next step.
      const changed = isFault(error, 'conflict') || isFault(error, 'busy') || isFault(error, 'not-found');
      if (!changed) throw error;
      return { afterMs: 1_000 };
    }
    return undefined;
  }

  async #evaluate(
    name: string,
    inventory: NodeInventory['status'],
    defaults: DefaultLabels,
  ): Promise<readonly RuleResult[]> {
    const { book, evaluator, metrics, nodes } = this.#deps;
    const { valid, invalid } = book.current();
    const unusable = [...invalid.keys()].map((rule): RuleResult => ({ rule, outcome: { state: 'unknown' } }));
    if (inventory === undefined) {
      return [...valid.map((rule): RuleResult => ({ rule, outcome: { state: 'unknown' } })), ...unusable];
    }
    const node = nodes.store.get(name);
    if (node === undefined) return [];
    const { labels, ownedLabels } = nodeStateOf(node);
    // Rules do not see what rules grant: the result would depend on their order, and two rules
    // could alternate.
    const visible = Object.entries(labels).filter(
      ([key]) => !ownedLabels.has(key) || defaults.isUnknown(key),
    );
    const facts = {
      inventory,
      node: { name, labels: { ...Object.fromEntries(visible), ...defaults.labels } },
    };
    const outcomes = await evaluator.evaluate(valid, facts);
    const results = valid.map((rule, index): RuleResult => {
      const outcome = outcomes[index] ?? { state: 'unknown' };
      metrics.evaluated(outcome.state);
      return { rule, outcome };
    });
    return [...results, ...unusable];
  }

  async #write(node: Node, plan: NodeLabelPlan, signal: AbortSignal): Promise<void> {
    const { uid } = node.metadata ?? {};
    // With the UID: an apply would re-create a Node that was deleted meanwhile.
    if (plan.labels !== undefined) {
      const apply = { metadata: { uid, labels: plan.labels } };
      await this.#patch(node, 'labels', { apply, fieldManager: LABELS_MANAGER }, signal);
    }
    if (plan.resources !== undefined) {
      const apply = { metadata: { uid }, status: { capacity: plan.resources } };
      // Forced, because kubelet owns the zeros that it sets; the plan leaves out what others have
      // set.
      const patch = { apply, fieldManager: RESOURCES_MANAGER, force: true };
      await this.#patch(node, 'resources', patch, signal);
    }
    if (plan.taints !== undefined) {
      const { all, owned } = plan.taints;
      const merge = {
        metadata: { annotations: { [TAINTS_ANNOTATION]: owned.length === 0 ? null : owned.join(',') } },
        spec: { taints: all },
      };
      // The list is atomic, so the write must replace the version that was read, including the
      // write above.
      const { resourceVersion } = this.#deps.nodes.store.get(node.metadata?.name ?? '')?.metadata ?? {};
      const precondition = { uid, resourceVersion };
      await this.#patch(node, 'taints', { merge, precondition }, signal);
    }
  }

  async #patch(node: Node, part: NodePart, patch: Patch, signal: AbortSignal): Promise<void> {
    const { client, nodes, metrics, logger } = this.#deps;
    const { name = '' } = node.metadata ?? {};
    const where = part === 'resources' ? { subresource: 'status' } : {};
    const answer = await client.patch(NODES, { name }, patch, {
      ...where,
      signal,
      ...(part === 'taints' ? { fieldManager: TAINTS_MANAGER } : {}),
    });
    nodes.remember(answer);
    metrics.written(part);
    logger.info({ node: name, part }, 'updated node');
  }
}
