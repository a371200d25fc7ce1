/** The part of metav1.ObjectMeta that Keelson uses. */
interface ObjectMeta {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  /** RFC 3339. */
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
  readonly managedFields?: readonly object[];
}

interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** The common part of all API objects. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: ObjectMeta;
}

declare const objectType: unique symbol;

/** A kind in the API. `T` is the type of its objects, at compile time only. */
export interface Resource<T extends KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly [objectType]?: T;
}

/** Name of an object; `namespace` for namespaced kinds only. */
export interface ObjectName {
  readonly name: string;
  readonly namespace?: string | undefined;
}

/** Returns e.g. `v1` or `keelson.dev/v1alpha1`. */
export function apiVersionOf({ group, version }: Pick<Resource<KubeObject>, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`;
}

/** Returns the key of an object in stores and queues: `namespace/name`, or `name`. */
export function keyOf(object: KubeObject): string {
  const { namespace, name = '' } = object.metadata ?? {};
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

/** Returns the name that `keyOf` encoded. */
export function nameOfKey(key: string): ObjectName {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/**
 * Returns the URL path of a collection (of all namespaces without one), an object or a subresource.
 */
export function pathOf(
  resource: Resource<KubeObject>,
  where: { readonly namespace?: string | undefined; readonly name?: string; readonly subresource?: string },
): string {
  const root = resource.group === '' ? ['api'] : ['apis', resource.group];
  const parts = [...root, resource.version];
  if (resource.namespaced && where.namespace !== undefined) parts.push('namespaces', where.namespace);
  parts.push(resource.plural);
  if (where.name !== undefined) parts.push(where.name);
  if (where.subresource !== undefined) parts.push(where.subresource);
  return `/${parts.map(encodeURIComponent).join('/')}`;
}
