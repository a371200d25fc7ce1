import { Fault, isFault } from '../../core/fault.ts';
import { type KubeClient, listAll, type Selection } from '../../kube/client.ts';
import type { KubeObject, ObjectName, Resource } from '../../kube/resource.ts';

interface ClusterReaderDeps {
  readonly client: Pick<KubeClient, 'get' | 'list'>;
  readonly signal: AbortSignal;
}

/** Reads objects and records what the user may not read, so that no result relies on it. */
export class ClusterReader {
  readonly #deps: ClusterReaderDeps;
  readonly #hidden = new Map<string, string>();

  constructor(deps: ClusterReaderDeps) {
    this.#deps = deps;
  }

  /** What could not be read, human-readable. */
  get hidden(): readonly string[] {
    return [...this.#hidden.values()];
  }

  /** Whether objects of a kind could not be read. */
  isHidden({ plural }: Pick<Resource<KubeObject>, 'plural'>): boolean {
    return this.#hidden.has(plural);
  }

  /** Throws `denied` if a required kind could not be read. */
  demand({ plural }: Pick<Resource<KubeObject>, 'plural'>): void {
    const why = this.#hidden.get(plural);
    if (why !== undefined) throw new Fault('denied', why);
  }

  /** Lists objects; an empty list if they may not be read or their CRD is missing. */
  async list<T extends KubeObject>(resource: Resource<T>, selection: Selection = {}): Promise<readonly T[]> {
    const { client, signal } = this.#deps;
    try {
      return await listAll(client, resource, { ...selection, signal });
    } catch (error) {
      this.#hide(resource, error, selection.namespace);
      return [];
    }
  }

  /** Gets an object; undefined if it does not exist or may not be read. */
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
      const where = namespace === undefined ? 'in all namespaces' : `in namespace ${namespace}`;
      this.#hidden.set(plural, `no permission to read ${full} ${where}`);
      return;
    }
    // 404 of a list: the kind is not installed.
    if (isFault(error, 'not-found')) {
      this.#hidden.set(plural, `the API server has no ${full}; install the CRDs of Keelson`);
      return;
    }
    throw error;
  }
}
