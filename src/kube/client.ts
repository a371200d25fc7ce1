import { isFault } from '../core/fault.ts';
import type { KubeObject, ObjectName, Resource } from './resource.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface Selection {
  /** All namespaces when absent. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface ListOptions extends CallOptions, Selection {
  /** Objects in a page; default: the whole list. */
  readonly limit?: number;
  /** `continue` of the previous page. */
  readonly continue?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  /** Absent on the last page. */
  readonly continue?: string | undefined;
}

export interface WriteOptions extends CallOptions {
  /** E.g. `status`. */
  readonly subresource?: string;
  /** The server validates and does not store. */
  readonly dryRun?: boolean;
  /** Owner of the written fields; default: the name of the user agent. */
  readonly fieldManager?: string;
}

/** The write rejects with `busy` unless the stored object has this UID and version. */
export interface Precondition {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'test' | 'move' | 'copy';
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** RFC 7386 merge patch, RFC 6902 JSON patch, or server-side apply. */
export type Patch =
  | { readonly merge: object; readonly precondition?: Precondition }
  | { readonly json: readonly JsonPatchOperation[]; readonly precondition?: Precondition }
  /**
   * Creates a missing object. `force` takes over fields of other managers; without it such a field
   * rejects with `conflict`.
   */
  | { readonly apply: object; readonly fieldManager: string; readonly force?: boolean };

export interface DeleteOptions extends CallOptions {
  readonly precondition?: Precondition;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
}

export interface WatchOptions extends Selection {
  /** Yields changes after this version. */
  readonly resourceVersion: string;
  /** The server ends the stream after this time. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export type WatchEvent<T> =
  /** The server accepted the watch. */
  | { readonly type: 'OPENED' }
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** No change up to this version. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

/**
 * Client of the API server for every kind. Rejects with Faults (`status-fault.ts`): `not-found`,
 * `conflict` for an existing name or owned field, `busy` for a stale version, `invalid`, `denied`,
 * `unavailable` without a response, `timeout`.
 */
export interface KubeClient {
  get<T extends KubeObject>(resource: Resource<T>, name: ObjectName, options?: CallOptions): Promise<T>;
  /** Returns one page; `listAll` returns all objects. */
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<Page<T>>;
  create<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  /** Replaces the object; `busy` if its resourceVersion is stale. */
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    patch: Patch,
    options?: WriteOptions,
  ): Promise<T>;
  /** Resolves when the deletion is accepted; finalizers may keep the object. */
  delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options?: DeleteOptions,
  ): Promise<void>;
  /** Yields changes until the stream ends; rejects if the version is too old (`isExpired`). */
  watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
}

const PAGE_SIZE = 500;

/** Yields all pages of a list. Rejects if the version expires meanwhile (`isExpired`). */
export async function* listPages<T extends KubeObject>(
  client: Pick<KubeClient, 'list'>,
  resource: Resource<T>,
  options: Omit<ListOptions, 'continue'> = {},
): AsyncGenerator<Page<T>> {
  let next: string | undefined;
  do {
    const page: Page<T> = await client.list(resource, {
      limit: PAGE_SIZE,
      ...options,
      ...(next === undefined ? {} : { continue: next }),
    });
    yield page;
    next = page.continue;
  } while (next !== undefined);
}

/** Returns all objects that `options` select. */
export async function listAll<T extends KubeObject>(
  client: Pick<KubeClient, 'list'>,
  resource: Resource<T>,
  options: Omit<ListOptions, 'continue'> = {},
): Promise<T[]> {
  const all: T[] = [];
  for await (const page of listPages(client, resource, options)) all.push(...page.items);
  return all;
}

/** Returns an object; undefined if it does not exist. */
export async function findObject<T extends KubeObject>(
  client: Pick<KubeClient, 'get'>,
  resource: Resource<T>,
  name: ObjectName,
  options: CallOptions = {},
): Promise<T | undefined> {
  try {
    return await client.get(resource, name, options);
  } catch (error) {
    if (isFault(error, 'not-found')) return undefined;
    throw error;
  }
}
