import type { Resource } from './machine-state.ts';

/** By what a resource is known to be this run's. */
export interface Belongings {
  /** Name of its directory and its cgroup, which is in every path and command line that it made. */
  readonly name: string;
  /** Its range of pod addresses, e.g. `10.88.7.0/24`. */
  readonly podRange: string;
}

export interface Leftovers {
  /** What the run left: nothing, if all is well. */
  readonly own: readonly Resource[];
  /** What others did on the machine in the meantime. */
  readonly foreign: readonly Resource[];
}

/** Compares a machine before and after a run: what is there now and was not before, by whom it was made. */
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

/** The node's interfaces and tables live in its own network namespaces, and end with them. */
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
