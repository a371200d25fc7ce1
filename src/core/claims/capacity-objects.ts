import { createHash } from 'node:crypto';
import { TOPOLOGY_KEY } from '../volumes/driver.ts';
import { type ClassView, type NodeView } from './provision.ts';
import { parseClassParameters } from './provision-class.ts';
import { choosePool } from './provision-placement.ts';

/** What the scheduler reads: the largest volume of a class that a node can hold. */
export interface CapacityFigure {
  readonly name: string;
  readonly className: string;
  readonly nodeName: string;
  readonly bytes: bigint;
}

/** Writes that make the published capacity match the desired one. */
export interface CapacityPlan {
  readonly create: readonly CapacityFigure[];
  readonly update: readonly CapacityFigure[];
  /** Names of objects to delete. */
  readonly remove: readonly string[];
}

/** Deterministic for a class and node, so that duplicates cannot arise. */
export function capacityName(className: string, nodeName: string): string {
  const hash = createHash('sha256').update(`${className}\n${nodeName}`).digest('hex');
  return `keelson-${hash.slice(0, 24)}`;
}

/**
 * Returns one figure for each class with WaitForFirstConsumer; none without a node, or while the
 * node cannot attach volumes.
 */
export function capacityFigures(
  node: NodeView | undefined,
  classes: readonly ClassView[],
): readonly CapacityFigure[] {
  if (node === undefined || node.labels[TOPOLOGY_KEY] !== node.name) return [];
  return classes
    .filter(({ waitsForConsumer }) => waitsForConsumer)
    .map((storageClass) => ({
      name: capacityName(storageClass.name, node.name),
      className: storageClass.name,
      nodeName: node.name,
      bytes: freeFor(node, storageClass),
    }));
}

/** Returns the writes after which exactly `wanted` is published. */
export function planCapacity(
  wanted: readonly CapacityFigure[],
  published: readonly CapacityFigure[],
): CapacityPlan {
  const known = new Map(published.map((figure) => [figure.name, figure]));
  const names = new Set(wanted.map(({ name }) => name));
  return {
    create: wanted.filter(({ name }) => !known.has(name)),
    update: wanted.filter((figure) => {
      const old = known.get(figure.name);
      return old !== undefined && old.bytes !== figure.bytes;
    }),
    remove: published.filter(({ name }) => !names.has(name)).map(({ name }) => name),
  };
}

/**
 * The largest single pool: a volume cannot span pools. A class with invalid parameters has no
 * capacity anywhere.
 */
function freeFor(node: NodeView, storageClass: ClassView): bigint {
  try {
    return choosePool(node, parseClassParameters(storageClass))?.freeBytes ?? 0n;
  } catch {
    return 0n;
  }
}
