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
  /** Objects in a page; the whole list when absent. */
  readonly limit?: number;
  /** The next page: `continue` of the page before. */
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
  /** Checked by the server, not stored. */
  readonly dryRun?: boolean;
  /** Who owns the fields that are written; the user agent's name when absent. */
  readonly fieldManager?: string;
}

/** The write happens only to this very object, in this very version: else `busy`. */
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

/** RFC 7386 merge patch, RFC 6902 JSON patch, or server-side apply of the fields that `fieldManager` wants. */
export type Patch =
  | { readonly merge: object; readonly precondition?: Precondition }
  | { readonly json: readonly JsonPatchOperation[]; readonly precondition?: Precondition }
  /** Creates what is missing. `force` takes fields from their other managers; without it such a field is a `conflict`. */
  | { readonly apply: object; readonly fieldManager: string; readonly force?: boolean };

export interface DeleteOptions extends CallOptions {
  readonly precondition?: Precondition;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
}

export interface WatchOptions extends Selection {
  /** Changes after this version. */
  readonly resourceVersion: string;
  /** The server ends the stream after this. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export type WatchEvent<T> =
  /** The server has accepted the watch. */
  | { readonly type: 'OPENED' }
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Nothing has changed up to this version. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

/**
 * The API server, for every kind alike. Rejects with Faults (`status-fault.ts`): `not-found`, `conflict` for a taken name or field, `busy`
 * for a stale version, `invalid`, `denied`, `unavailable` when the server cannot answer now, `timeout`.
 */
export interface KubeClient {
  get<T extends KubeObject>(resource: Resource<T>, name: ObjectName, options?: CallOptions): Promise<T>;
  /** One page; `listAll` gives all of them. */
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<Page<T>>;
  create<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  /** Replaces the object; `busy` when its resourceVersion is not the stored one. */
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    patch: Patch,
    options?: WriteOptions,
  ): Promise<T>;
  /** Resolves when the deletion is accepted; finalizers may keep the object for longer. */
  delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options?: DeleteOptions,
  ): Promise<void>;
  /** Changes until the stream ends; rejects with an expired fault when the version is too old (`isExpired`). */
  watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
}

const PAGE_SIZE = 500;

/** All objects, page by page. Rejects with an expired fault when paging takes longer than the server keeps a version. */
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

/** All objects that `options` select, in one array. */
export async function listAll<T extends KubeObject>(
  client: Pick<KubeClient, 'list'>,
  resource: Resource<T>,
  options: Omit<ListOptions, 'continue'> = {},
): Promise<T[]> {
  const all: T[] = [];
  for await (const page of listPages(client, resource, options)) all.push(...page.items);
  return all;
}

/** The object as the server has it now; undefined when it is gone. */
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
