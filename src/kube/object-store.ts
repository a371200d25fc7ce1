import { type KubeObject, keyOf } from './resource.ts';

/** Names an index and says under which values it files an object. */
export type Indexers<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

/** What is known of a kind. Objects are shared: never change one. */
export interface ReadonlyStore<T> {
  readonly size: number;
  get(key: string): T | undefined;
  keys(): IterableIterator<string>;
  values(): IterableIterator<T>;
  /** The objects that index `index` files under `value`. Throws a RangeError for an index that was not declared. */
  byIndex(index: string, value: string): T[];
}

/** Objects by key (`namespace/name`), and by what their indexers say of them. */
export class ObjectStore<T extends KubeObject> implements ReadonlyStore<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: Indexers<T>;
  readonly #indices = new Map<string, Map<string, Set<string>>>();

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

  byIndex(index: string, value: string): T[] {
    const filed = this.#indices.get(index);
    if (filed === undefined) throw new RangeError(`there is no index ${index}`);
    return [...(filed.get(value) ?? [])].flatMap((key) => this.#objects.get(key) ?? []);
  }

  /** Returns the object that was there before. */
  set(object: T): T | undefined {
    const key = keyOf(object);
    const previous = this.delete(key);
    this.#objects.set(key, object);
    for (const [name, indexer] of Object.entries(this.#indexers)) {
      const index = this.#indices.get(name);
      for (const value of indexer(object)) {
        const keys = index?.get(value);
        if (keys === undefined) index?.set(value, new Set([key]));
        else keys.add(key);
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
        const keys = index?.get(value);
        keys?.delete(key);
        if (keys?.size === 0) index?.delete(value);
      }
    }
    return previous;
  }
}
