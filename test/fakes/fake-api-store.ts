import { randomUUID } from 'node:crypto';
import type { Selection } from '../../src/kube/client.ts';
import {
  apiVersionOf,
  type KubeObject,
  keyOf,
  type ObjectName,
  type Resource,
} from '../../src/kube/resource.ts';
import { applyFields, type FieldOwners, managedFieldsOf, recordWrite } from './fake-api-apply.ts';
import { ApiError, type Json } from './fake-api-error.ts';
import { jsonPatch, mergePatch } from './fake-api-patch.ts';

export interface StoredEvent {
  readonly version: number;
  readonly resource: string;
  readonly previous: KubeObject | undefined;
  readonly current: KubeObject | undefined;
}

export type WireEvent = { readonly type: string; readonly object: KubeObject };

export interface FakeWrite {
  readonly subresource?: string | undefined;
  readonly fieldManager?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

export type FakePatch =
  | { readonly type: 'merge' | 'json'; readonly body: unknown }
  | { readonly type: 'apply'; readonly body: unknown; readonly force: boolean };

/**
 * The state of a small API server: versions, preconditions, finalizers, selectors, field owners,
 * and a log for watches.
 */
export class FakeApiStore {
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #owners = new Map<string, FieldOwners>();
  readonly #appliers = new Set<string>();
  readonly #log: StoredEvent[] = [];
  readonly #watchers = new Set<(event: StoredEvent) => void>();
  readonly #nowMs: () => number;
  #version = 100;
  #oldestVersion = 100;

  constructor({ nowMs = () => Date.now() }: { readonly nowMs?: () => number } = {}) {
    this.#nowMs = nowMs;
  }

  get version(): string {
    return String(this.#version);
  }

  /**
   * Forgets all past versions, as etcd does every five minutes: watches and pages from before are
   * expired.
   */
  compact(): void {
    this.#oldestVersion = this.#version + 1;
    this.#version += 2;
    this.#log.length = 0;
  }

  get(resource: Resource<KubeObject>, name: ObjectName): KubeObject {
    const object = this.#all(resource).get(keyOf({ metadata: plain(name) }));
    if (object === undefined) throw notFound(resource, name.name);
    return object;
  }

  list(
    resource: Resource<KubeObject>,
    selection: Selection,
    { limit = 0, token }: { readonly limit?: number; readonly token?: string | undefined } = {},
  ): { readonly items: readonly KubeObject[]; readonly version: string; readonly token: string | undefined } {
    const page = token === undefined ? undefined : (JSON.parse(token) as { version: number; after: string });
    if (page !== undefined && page.version < this.#oldestVersion) throw expired('continue token');
    const selected = [...this.#all(resource)]
      .filter(([, object]) => matches(object, selection))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .filter(([key]) => page === undefined || key > page.after);
    const taken = limit > 0 ? selected.slice(0, limit) : selected;
    const version = page?.version ?? this.#version;
    const next =
      taken.length < selected.length ? JSON.stringify({ version, after: taken.at(-1)?.[0] }) : undefined;
    return { items: taken.map(([, object]) => object), version: String(version), token: next };
  }

  create(resource: Resource<KubeObject>, object: KubeObject, write: FakeWrite = {}): KubeObject {
    const { generateName, ...metadata } = object.metadata ?? {};
    const name = metadata.name ?? `${generateName ?? ''}${randomUUID().slice(0, 5)}`;
    const key = keyOf({ metadata: { ...metadata, name } });
    if (this.#all(resource).has(key)) {
      throw new ApiError(409, 'AlreadyExists', `${resource.plural} "${name}" already exists`);
    }
    if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== '') {
      throw new ApiError(400, 'BadRequest', 'resourceVersion should not be set on objects to be created');
    }
    const created = {
      ...object,
      ...typeOf(resource),
      metadata: {
        ...metadata,
        name,
        uid: randomUUID(),
        generation: 1,
        creationTimestamp: new Date(this.#nowMs()).toISOString(),
      },
    };
    const owners = this.#ownersOf(resource, key);
    recordWrite(owners, write.fieldManager ?? 'test', undefined, created);
    const managedFields = managedFieldsOf(owners, this.#appliers);
    const fields = managedFields.length === 0 ? {} : { managedFields };
    return this.#put(
      resource,
      undefined,
      { ...created, metadata: { ...created.metadata, ...fields } },
      write,
    );
  }

  update(resource: Resource<KubeObject>, object: KubeObject, write: FakeWrite = {}): KubeObject {
    const stored = this.get(resource, { ...plain(object.metadata ?? {}), name: object.metadata?.name ?? '' });
    return this.#replace(resource, stored, object, write);
  }

  patch(
    resource: Resource<KubeObject>,
    name: ObjectName,
    patch: FakePatch,
    write: FakeWrite = {},
  ): KubeObject {
    if (patch.type === 'apply') return this.#apply(resource, name, patch, write);
    const stored = this.get(resource, name);
    const patched = patch.type === 'merge' ? mergePatch(stored, patch.body) : jsonPatch(stored, patch.body);
    return this.#replace(resource, stored, patched as KubeObject, write);
  }

  delete(
    resource: Resource<KubeObject>,
    name: ObjectName,
    precondition: { readonly uid?: string; readonly resourceVersion?: string } = {},
  ): KubeObject {
    const stored = this.get(resource, name);
    const { uid, resourceVersion } = stored.metadata ?? {};
    for (const [wanted, found] of [
      [precondition.uid, uid],
      [precondition.resourceVersion, resourceVersion],
    ]) {
      if (wanted !== undefined && wanted !== found) throw stale(resource, name.name);
    }
    if ((stored.metadata?.finalizers ?? []).length === 0) {
      this.#remove(resource, stored);
      return stored;
    }
    const deletionTimestamp = stored.metadata?.deletionTimestamp ?? new Date(this.#nowMs()).toISOString();
    const metadata = { ...stored.metadata, deletionTimestamp };
    return this.#put(resource, stored, { ...stored, metadata }, {});
  }

  /**
   * Past and future changes after `version`, until disposed. Throws 410 for a version that was
   * compacted.
   */
  watch(
    resource: Resource<KubeObject>,
    selection: Selection,
    version: string,
    push: (event: WireEvent) => void,
  ): Disposable {
    const from = Number(version);
    if (from < this.#oldestVersion) throw expired(`resource version ${version}`);
    const tell = (event: StoredEvent): void => {
      if (event.resource !== resource.plural) return;
      const wire = wireEvent(event, selection);
      if (wire !== undefined) push(wire);
    };
    for (const event of this.#log) if (event.version > from) tell(event);
    this.#watchers.add(tell);
    return { [Symbol.dispose]: () => this.#watchers.delete(tell) };
  }

  #apply(
    resource: Resource<KubeObject>,
    name: ObjectName,
    patch: Extract<FakePatch, { type: 'apply' }>,
    write: FakeWrite,
  ): KubeObject {
    const key = keyOf({ metadata: plain(name) });
    const stored = this.#all(resource).get(key);
    const manager = write.fieldManager ?? '';
    if ((patch.body as KubeObject).metadata?.name !== name.name) {
      throw new ApiError(
        400,
        'BadRequest',
        `the name of the object (${name.name} based on URL) was undeterminable`,
      );
    }
    if (stored === undefined && (patch.body as KubeObject).metadata?.uid !== undefined) {
      throw new ApiError(
        409,
        'Conflict',
        `${resource.plural} "${name.name}": uid mismatch, no existing object was found`,
      );
    }
    const owners = this.#ownersOf(resource, key);
    this.#appliers.add(manager);
    const base = stored ?? { ...typeOf(resource), metadata: plain(name) };
    const { result, conflicts } = applyFields(owners, manager, base, patch.body as Json, patch.force);
    if (conflicts.length > 0) {
      const causes = conflicts.map(() => ({ reason: 'FieldManagerConflict' }));
      throw new ApiError(409, 'Conflict', `Apply failed with conflicts: ${conflicts.join(', ')}`, { causes });
    }
    if (stored === undefined) {
      const created = this.create(resource, result, { ...write, fieldManager: manager });
      return created;
    }
    return this.#replace(resource, stored, result, write, false);
  }

  #replace(
    resource: Resource<KubeObject>,
    stored: KubeObject,
    wanted: KubeObject,
    write: FakeWrite,
    record = true,
  ): KubeObject {
    const name = stored.metadata?.name ?? '';
    const { uid, resourceVersion, creationTimestamp, deletionTimestamp } = stored.metadata ?? {};
    const given = wanted.metadata ?? {};
    const differs = (a: string | undefined, b: string | undefined): boolean =>
      a !== undefined && a !== '' && a !== b;
    if (differs(given.resourceVersion, resourceVersion) || differs(given.uid, uid))
      throw stale(resource, name);
    const status = write.subresource === 'status';
    const body = status
      ? { ...stored, status: (wanted as Json)['status'] }
      : { ...wanted, ...('status' in stored ? { status: stored.status } : {}) };
    if (!status && !('status' in stored)) delete (body as Json)['status'];
    const fixed = { uid, resourceVersion, creationTimestamp, deletionTimestamp };
    const owners = this.#ownersOf(resource, keyOf(stored));
    const written = {
      ...body,
      ...typeOf(resource),
      metadata: status ? stored.metadata : given,
    } as KubeObject;
    if (record) recordWrite(owners, write.fieldManager ?? 'test', stored, written);
    const specChanged = !status && !isDeepEqual(specOf(written), specOf(stored));
    const metadata = {
      ...written.metadata,
      ...definedOnly(fixed),
      generation: (stored.metadata?.generation ?? 1) + (specChanged ? 1 : 0),
      managedFields: managedFieldsOf(owners, this.#appliers),
    };
    if (metadata.managedFields.length === 0) Reflect.deleteProperty(metadata, 'managedFields');
    const next = { ...written, metadata };
    if (isDeepEqual(next, stored)) return stored;
    if (deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0) {
      this.#remove(resource, stored);
      return next;
    }
    return this.#put(resource, stored, next, write);
  }

  #put(
    resource: Resource<KubeObject>,
    previous: KubeObject | undefined,
    object: KubeObject,
    { dryRun }: FakeWrite,
  ): KubeObject {
    const version = this.#version + 1;
    const current = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    if (dryRun === true) return current;
    this.#version = version;
    this.#all(resource).set(keyOf(current), current);
    this.#tell({ version, resource: resource.plural, previous, current });
    return current;
  }

  #remove(resource: Resource<KubeObject>, stored: KubeObject): void {
    this.#version += 1;
    this.#all(resource).delete(keyOf(stored));
    this.#owners.delete(`${resource.plural} ${keyOf(stored)}`);
    // The event of a deletion carries the version of the deletion.
    const previous = { ...stored, metadata: { ...stored.metadata, resourceVersion: String(this.#version) } };
    this.#tell({ version: this.#version, resource: resource.plural, previous, current: undefined });
  }

  #tell(event: StoredEvent): void {
    this.#log.push(event);
    for (const watcher of this.#watchers) watcher(event);
  }

  #all({ group, plural }: Resource<KubeObject>): Map<string, KubeObject> {
    const id = `${group}/${plural}`;
    let all = this.#objects.get(id);
    if (all === undefined) this.#objects.set(id, (all = new Map<string, KubeObject>()));
    return all;
  }

  #ownersOf({ plural }: Resource<KubeObject>, key: string): FieldOwners {
    const id = `${plural} ${key}`;
    let owners = this.#owners.get(id);
    if (owners === undefined) this.#owners.set(id, (owners = new Map<string, Set<string>>()));
    return owners;
  }
}

function wireEvent({ previous, current, version }: StoredEvent, selection: Selection): WireEvent | undefined {
  const was = previous !== undefined && matches(previous, selection);
  const is = current !== undefined && matches(current, selection);
  if (is) return { type: was ? 'MODIFIED' : 'ADDED', object: current };
  if (!was) return undefined;
  return {
    type: 'DELETED',
    object: { ...previous, metadata: { ...previous.metadata, resourceVersion: String(version) } },
  };
}

function matches(object: KubeObject, { namespace, labelSelector, fieldSelector }: Selection): boolean {
  if (namespace !== undefined && object.metadata?.namespace !== namespace) return false;
  const labels = object.metadata?.labels ?? {};
  return (
    requirements(labelSelector).every(({ key, operator, value }) =>
      operator === undefined ? key in labels : (labels[key] === value) === (operator === '='),
    ) &&
    requirements(fieldSelector).every(
      ({ key, operator, value }) => (at(object, key) === value) === (operator === '='),
    )
  );
}

function requirements(selector = ''): { key: string; operator: '=' | '!=' | undefined; value: string }[] {
  return selector
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [, key = '', operator, value = ''] = /^([^!=]+)(?:(!=|==?)(.*))?$/.exec(part) ?? [];
      return { key, operator: operator === undefined ? undefined : operator === '!=' ? '!=' : '=', value };
    });
}

/** A field's text; empty when it is absent, as field selectors have it. */
function at(object: unknown, path: string): string {
  const value = path
    .split('.')
    .reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], object);
  return typeof value === 'string' ? value : '';
}

function plain({ namespace, name }: { readonly namespace?: string | undefined; readonly name?: string }): {
  namespace?: string;
  name?: string;
} {
  return { ...(namespace === undefined ? {} : { namespace }), ...(name === undefined ? {} : { name }) };
}

function definedOnly(values: Json): Json {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function typeOf(resource: Resource<KubeObject>): { apiVersion: string; kind: string } {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind };
}

/** What a generation counts the changes of. */
function specOf(object: KubeObject): unknown {
  const { metadata: _unused, status: _neither, ...rest } = object as Json;
  return rest;
}

function isDeepEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

function notFound(resource: Resource<KubeObject>, name: string): ApiError {
  return new ApiError(404, 'NotFound', `${resource.plural} "${name}" not found`);
}

function stale(resource: Resource<KubeObject>, name: string): ApiError {
  return new ApiError(409, 'Conflict', `${resource.plural} "${name}": the object has been modified`);
}

function expired(what: string): ApiError {
  return new ApiError(410, 'Expired', `too old ${what}`);
}
