import { Fault, isFault } from '../../core/fault.ts';
import { type KubeClient, listAll, type Selection } from '../../kube/client.ts';
import type { KubeObject, ObjectName, Resource } from '../../kube/resource.ts';

export interface ClusterReaderDeps {
  readonly client: Pick<KubeClient, 'get' | 'list'>;
  readonly signal: AbortSignal;
}

/** Reads what its user may read, and remembers what that was not: an answer must not rest on what was only hidden. */
export class ClusterReader {
  readonly #deps: ClusterReaderDeps;
  readonly #hidden = new Map<string, string>();

  constructor(deps: ClusterReaderDeps) {
    this.#deps = deps;
  }

  /** What could not be read, in words. */
  get hidden(): readonly string[] {
    return [...this.#hidden.values()];
  }

  /** Whether objects of a kind could not be read. */
  isHidden({ plural }: Pick<Resource<KubeObject>, 'plural'>): boolean {
    return this.#hidden.has(plural);
  }

  /** Throws `denied` when objects of a kind, without which there is no answer, may not be read. */
  demand({ plural }: Pick<Resource<KubeObject>, 'plural'>): void {
    const why = this.#hidden.get(plural);
    if (why !== undefined) throw new Fault('denied', why);
  }

  /** All objects that `selection` selects; none where they may not be read or their kind is not installed. */
  async list<T extends KubeObject>(resource: Resource<T>, selection: Selection = {}): Promise<readonly T[]> {
    const { client, signal } = this.#deps;
    try {
      return await listAll(client, resource, { ...selection, signal });
    } catch (error) {
      this.#hide(resource, error, selection.namespace);
      return [];
    }
  }

  /** One object; undefined when there is none, or it may not be read. */
  async find<T extends KubeObject>(resource: Resource<T>, name: ObjectName): Promise<T | undefined> {
    const { client, signal } = this.#deps;
    try {
      return await client.get(resource, name, { signal });
    } catch (error) {
      if (isFault(error, 'not-found')) return undefined;
      this.#hide(resource, error, name.namespace);
      return undefined;
    }
  }

  #hide({ plural, group }: Resource<KubeObject>, error: unknown, namespace: string | undefined): void {
    const full = group === '' ? plural : `${plural}.${group}`;
    if (isFault(error, 'denied')) {
      const where = namespace === undefined ? 'in the whole cluster' : `in namespace ${namespace}`;
      this.#hidden.set(plural, `you may not read ${full} ${where}`);
      return;
    }
    // Of a list, 404 speaks of the kind.
    if (isFault(error, 'not-found')) {
      this.#hidden.set(plural, `the API server knows no ${full}: are the CRDs of Keelson installed?`);
      return;
    }
    throw error;
  }
}
