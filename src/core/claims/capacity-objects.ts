import { createHash } from 'node:crypto';
import { TOPOLOGY_KEY } from '../volumes/driver.ts';
import { type ClassView, type NodeView } from './provision.ts';
import { parseClassParameters } from './provision-class.ts';
import { choosePool } from './provision-placement.ts';

/** What the scheduler is told: the largest volume of a class that a node can have. */
export interface CapacityFigure {
  readonly name: string;
  readonly className: string;
  readonly nodeName: string;
  readonly bytes: bigint;
}

export interface CapacityPlan {
  readonly create: readonly CapacityFigure[];
  readonly update: readonly CapacityFigure[];
  /** Names. */
  readonly remove: readonly string[];
}

/** The same for a class and node always, so that no duplicate can arise. */
export function capacityName(className: string, nodeName: string): string {
  const hash = createHash('sha256').update(`${className}\n${nodeName}`).digest('hex');
  return `keelson-${hash.slice(0, 24)}`;
}

/** One figure for each class that waits for a consumer. Without a node, or on one where volumes cannot be attached yet, there is none. */
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

/** What to write so that exactly `wanted` is published; nothing when it is. */
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

/** The largest single pool, not their sum: a volume is in one. A class that cannot be understood has no room anywhere. */
function freeFor(node: NodeView, storageClass: ClassView): bigint {
  try {
    return choosePool(node, parseClassParameters(storageClass))?.freeBytes ?? 0n;
  } catch {
    return 0n;
  }
}
