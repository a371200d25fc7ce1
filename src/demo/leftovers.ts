import type { Resource } from './machine-state.ts';

/** Identifies resources of this run. */
export interface Belongings {
  /** Name of directory and cgroup; part of every path and command line of the run. */
  readonly name: string;
  /** E.g. `10.88.7.0/24`. */
  readonly podRange: string;
}

export interface Leftovers {
  /** Leftovers of the run; normally empty. */
  readonly own: readonly Resource[];
  /** New resources of other programs. */
  readonly foreign: readonly Resource[];
}

/** Returns the new resources of a machine, by their owner. */
export function compareMachine(
  before: readonly Resource[],
  after: readonly Resource[],
  belongings: Belongings,
): Leftovers {
  const known = new Set(before.map(identify));
  const appeared = after.filter((resource) => !known.has(identify(resource)));
  const own = appeared.filter((resource) => belongsTo(resource, belongings));
  return { own, foreign: appeared.filter((resource) => !own.includes(resource)) };
}

/** The node's interfaces and tables are in its network namespaces. */
function belongsTo({ kind, trace }: Resource, { name, podRange }: Belongings): boolean {
  switch (kind) {
    case 'route':
    case 'rule':
      return trace.includes(podRange.replace(/\.0\/24$/, '.'));
    default:
      return trace.includes(name);
  }
}

function identify({ kind, key }: Resource): string {
  return `${kind} ${key}`;
}
