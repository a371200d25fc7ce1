import { type KubeObject, keyOf } from './resource.ts';

/** Returns the values of an object in each index, by the name of the index. */
export type Indexers<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

/** Objects of one kind. They are shared: never mutate one. */
export interface ReadonlyStore<T> {
  readonly size: number;
  get(key: string): T | undefined;
  keys(): IterableIterator<string>;
  values(): IterableIterator<T>;
  /**
   * Returns the objects with `value` in `index`: the same array until one of them changes, so that
   * callers can cache by it. Throws a RangeError for an undeclared index.
   */
  byIndex(index: string, value: string): readonly T[];
}

/** Objects of one value of an index; `list` is built on demand. */
interface IndexEntry<T> {
  readonly keys: Set<string>;
  list: readonly T[] | undefined;
}

const EMPTY: readonly never[] = [];

/** Objects by key (`namespace/name`) and by index. */
export class ObjectStore<T extends KubeObject> implements ReadonlyStore<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: Indexers<T>;
  readonly #indices = new Map<string, Map<string, IndexEntry<T>>>();

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
    if (values === undefined) throw new RangeError(`undeclared index ${index}`);
    const entry = values.get(value);
    if (entry === undefined) return EMPTY;
    entry.list ??= [...entry.keys].flatMap((key) => this.#objects.get(key) ?? []);
    return entry.list;
  }

  /** Returns the previous object of the key. */
  set(object: T): T | undefined {
    const key = keyOf(object);
    const previous = this.delete(key);
    this.#objects.set(key, object);
    for (const [name, indexer] of Object.entries(this.#indexers)) {
      const index = this.#indices.get(name);
      for (const value of indexer(object)) {
        const entry = index?.get(value);
        if (entry === undefined) index?.set(value, { keys: new Set([key]), list: undefined });
        else {
          entry.keys.add(key);
          entry.list = undefined;
        }
      }
    }
    return previous;
  }

  /** Returns the deleted object. */
  delete(key: string): T | undefined {
    const previous = this.#objects.get(key);
    if (previous === undefined) return undefined;
    this.#objects.delete(key);
    for (const [name, indexer] of Object.entries(this.#indexers)) {
      const index = this.#indices.get(name);
      for (const value of indexer(previous)) {
        const entry = index?.get(value);
        if (entry === undefined) continue;
        entry.keys.delete(key);
        entry.list = undefined;
        if (entry.keys.size === 0) index?.delete(value);
      }
    }
    return previous;
  }
}
