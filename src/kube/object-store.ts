import { type KubeObject, keyOf } from './resource.ts';

/** Names an index and says under which values it files an object. */
export type Indexers<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

/** What is known of a kind. Objects are shared: never change one. */
export interface ReadonlyStore<T> {
  readonly size: number;
  get(key: string): T | undefined;
  keys(): IterableIterator<string>;
  values(): IterableIterator<T>;
  /**
   * The objects that index `index` files under `value`: the same array until one of them changes, so that what was made from it can be
   * kept for as long. Throws a RangeError for an index that was not declared.
   */
  byIndex(index: string, value: string): readonly T[];
}

/** What one value of an index has; `list` is made when it is asked for. */
interface Filed<T> {
  readonly keys: Set<string>;
  list: readonly T[] | undefined;
}

const NOTHING: readonly never[] = [];

/** Objects by key (`namespace/name`), and by what their indexers say of them. */
export class ObjectStore<T extends KubeObject> implements ReadonlyStore<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: Indexers<T>;
  readonly #indices = new Map<string, Map<string, Filed<T>>>();

  constructor(indexers: Indexers<T> = {}) {
    this.#indexers = indexers;
    for (const name of Object.keys(indexers)) this.#indices.set(name, new Map());
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  keys(): IterableIterator<string> {
    return this.#objects.keys();
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  byIndex(index: string, value: string): readonly T[] {
    const values = this.#indices.get(index);
    if (values === undefined) throw new RangeError(`there is no index ${index}`);
    const filed = values.get(value);
    if (filed === undefined) return NOTHING;
    filed.list ??= [...filed.keys].flatMap((key) => this.#objects.get(key) ?? []);
    return filed.list;
  }

  /** Returns the object that was there before. */
  set(object: T): T | undefined {
    const key = keyOf(object);
    const previous = this.delete(key);
    this.#objects.set(key, object);
    for (const [name, indexer] of Object.entries(this.#indexers)) {
      const index = this.#indices.get(name);
      for (const value of indexer(object)) {
        const filed = index?.get(value);
        if (filed === undefined) index?.set(value, { keys: new Set([key]), list: undefined });
        else {
          filed.keys.add(key);
          filed.list = undefined;
        }
      }
    }
    return previous;
  }

  /** Returns the object that was there. */
  delete(key: string): T | undefined {
    const previous = this.#objects.get(key);
    if (previous === undefined) return undefined;
    this.#objects.delete(key);
    for (const [name, indexer] of Object.entries(this.#indexers)) {
      const index = this.#indices.get(name);
      for (const value of indexer(previous)) {
        const filed = index?.get(value);
        if (filed === undefined) continue;
        filed.keys.delete(key);
        filed.list = undefined;
        if (filed.keys.size === 0) index?.delete(value);
      }
    }
    return previous;
  }
}
