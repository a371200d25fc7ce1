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
  /** Whether nodes get the labels that need no rule. */
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

/** Gives nodes the labels, taints and extended resources that they should have, and takes back what they should no longer have. */
export class NodeLabeller {
  readonly #options: NodeLabellerOptions;
  readonly #deps: NodeLabellerDeps;

  constructor(options: NodeLabellerOptions, deps: NodeLabellerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Makes the node `name` right; writes nothing where it is. */
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
      // Changed, replaced or deleted meanwhile: the news is on its way, and brings the next step.
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
    // No rule sees what rules give: their order would matter, and two could chase each other.
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
    // With its uid: an apply would make the Node anew if it were deleted meanwhile.
    if (plan.labels !== undefined) {
      const apply = { metadata: { uid, labels: plan.labels } };
      await this.#patch(node, 'labels', { apply, fieldManager: LABELS_MANAGER }, signal);
    }
    if (plan.resources !== undefined) {
      const apply = { metadata: { uid }, status: { capacity: plan.resources } };
      // By force, for kubelet owns the zeros that it sets; what others have set is not in the plan.
      const patch = { apply, fieldManager: RESOURCES_MANAGER, force: true };
      await this.#patch(node, 'resources', patch, signal);
    }
    if (plan.taints !== undefined) {
      const { all, owned } = plan.taints;
      const merge = {
        metadata: { annotations: { [TAINTS_ANNOTATION]: owned.length === 0 ? null : owned.join(',') } },
        spec: { taints: all },
      };
      // The list is replaced whole, so it must be the one that was read: a write before this one has made it another version.
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
    logger.info({ node: name, part }, 'node written');
  }
}
