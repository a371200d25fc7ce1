import { Fault } from '../core/fault.ts';
import type { Patch, Precondition, Selection, WatchEvent, WriteOptions } from './client.ts';
import { apiVersionOf, type KubeObject, type ObjectName, type Resource } from './resource.ts';
import { statusFault } from './status-fault.ts';

/** One API call as HTTP. */
export interface Call {
  readonly verb: string;
  readonly resource: Resource<KubeObject>;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: object;
  readonly contentType?: string | undefined;
}

const PATCH_TYPES = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

interface PatchBody {
  readonly body: object;
  readonly contentType: string;
  readonly query?: Call['query'];
  readonly fieldManager?: string;
}

/** Returns the body and content type of a patch. */
export function patchBody(patch: Patch, resource: Resource<KubeObject>, name: ObjectName): PatchBody {
  if ('apply' in patch) {
    const { apply, fieldManager, force = false } = patch;
    const typed: KubeObject = withType(apply, resource);
    const body = { ...typed, metadata: { ...typed.metadata, ...name } };
    return { body, contentType: PATCH_TYPES.apply, query: { force }, fieldManager };
  }
  if ('merge' in patch) {
    return { body: withPrecondition(patch.merge, patch.precondition), contentType: PATCH_TYPES.merge };
  }
  const body = [...preconditionOperations(patch.precondition), ...patch.json];
  return { body, contentType: PATCH_TYPES.json };
}

export interface ListBody<T> {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  /** Some aggregated APIs return null for an empty list. */
  readonly items?: readonly T[] | null;
}

export interface WatchLine<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T & KubeObject & { readonly code?: number };
}

export function watchEvent<T extends KubeObject>(
  { type, object }: WatchLine<T>,
  request: string,
): WatchEvent<T> {
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object };
    case 'BOOKMARK':
      return { type, resourceVersion: object.metadata?.resourceVersion ?? '' };
    case 'ERROR':
      throw statusFault({ request, status: object.code ?? 500, body: JSON.stringify(object) });
    default:
      throw new Fault('unavailable', `${request}: unknown watch event type ${JSON.stringify(type)}`);
  }
}

/** Adds apiVersion and kind, which writes of custom kinds require and lists omit. */
export function withType<T extends object>(object: T, resource: Resource<KubeObject>): T {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
}

export function selection({ labelSelector, fieldSelector }: Selection): Call['query'] {
  return { labelSelector, fieldSelector };
}

export function subresourceOf({ subresource }: WriteOptions): { readonly subresource?: string } {
  return subresource === undefined ? {} : { subresource };
}

export function targetOf({ path, query = {} }: Call): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) parameters.set(name, String(value));
  }
  return parameters.size === 0 ? path : `${path}?${parameters.toString()}`;
}

export function describe({ verb, path }: Call): string {
  return `${verb} ${path}`;
}

function withPrecondition(merge: object, precondition: Precondition | undefined): object {
  if (precondition === undefined) return merge;
  const metadata = 'metadata' in merge && typeof merge.metadata === 'object' ? merge.metadata : {};
  return { ...merge, metadata: { ...metadata, ...precondition } };
}

/** The server checks a patched resourceVersion as in updates: 409. A failed `test` returns 422. */
function preconditionOperations({ uid, resourceVersion }: Precondition = {}): object[] {
  return Object.entries({ uid, resourceVersion })
    .filter(([, value]) => value !== undefined)
    .map(([field, value]) => ({ op: 'replace', path: `/metadata/${field}`, value }));
}
