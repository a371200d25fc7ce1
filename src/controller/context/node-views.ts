import type { NodeInventory } from '../../api/node-inventory.ts';
import type { LocalVolume } from '../../api/local-volume.ts';
import type { NodeDirectory, NodeView } from '../../core/claims/provision.ts';
import type { Node } from '../../kube/built-in.ts';
import type { ReadonlyStore } from '../../kube/object-store.ts';
import { nodeView } from './views.ts';

/** `volumes` must have the index `node`. */
export interface NodeViewsDeps {
  readonly nodes: { readonly store: ReadonlyStore<Node> };
  readonly inventories: { readonly store: ReadonlyStore<NodeInventory> };
  readonly volumes: { readonly store: ReadonlyStore<LocalVolume> };
}

interface Kept {
  readonly node: Node;
  readonly inventory: NodeInventory | undefined;
  readonly volumes: readonly LocalVolume[];
  readonly view: NodeView;
}

/**
 * The cluster's nodes as planning functions see them. A view is built once and rebuilt when one of
 * its objects changes.
 */
export class NodeViews implements NodeDirectory {
  readonly #cluster: NodeViewsDeps;
  readonly #kept = new Map<string, Kept>();

  constructor(cluster: NodeViewsDeps) {
    this.#cluster = cluster;
  }

  has(name: string): boolean {
    return this.#cluster.nodes.store.get(name) !== undefined;
  }

  get(name: string): NodeView | undefined {
    const { nodes, inventories, volumes: all } = this.#cluster;
    const node = nodes.store.get(name);
    if (node === undefined) {
      this.#kept.delete(name);
      return undefined;
    }
    const inventory = inventories.store.get(name);
    const volumes = all.store.byIndex('node', name);
    const kept = this.#kept.get(name);
    // Objects and lists of a store are immutable.
    const isTrue = kept?.node === node && kept.inventory === inventory && kept.volumes === volumes;
    if (isTrue) return kept.view;
    const view = nodeView(node, inventory, volumes);
    this.#kept.set(name, { node, inventory, volumes, view });
    return view;
  }

  *values(): MapIterator<NodeView> {
    const { store } = this.#cluster.nodes;
    if (this.#kept.size > store.size) {
      for (const name of this.#kept.keys()) if (store.get(name) === undefined) this.#kept.delete(name);
    }
    for (const name of store.keys()) {
      const view = this.get(name);
      if (view !== undefined) yield view;
    }
  }

  /**
   * Returns the nodes as they would be without volume `volumeName`: its own reservation does not
   * count against it.
   */
  without(volumeName: string): NodeDirectory {
    const { nodes, inventories, volumes } = this.#cluster;
    const nodeName = volumes.store.get(volumeName)?.spec.nodeName;
    const node = nodeName === undefined ? undefined : nodes.store.get(nodeName);
    if (nodeName === undefined || node === undefined) return this;
    const others = (): NodeView => {
      const kept = volumes.store
        .byIndex('node', nodeName)
        .filter(({ metadata }) => metadata?.name !== volumeName);
      return nodeView(node, inventories.store.get(nodeName), kept);
    };
    const of = (view: NodeView): NodeView => (view.name === nodeName ? others() : view);
    return {
      has: (name) => this.has(name),
      get: (name) => (name === nodeName ? others() : this.get(name)),
      values: () => this.values().map(of),
    };
  }
}
