/** The part of metav1.ObjectMeta that we read or write. */
export interface ObjectMeta {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  /** RFC 3339, as all times on the wire. */
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
  readonly managedFields?: readonly object[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** What every object of the API has. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: ObjectMeta;
}

declare const objectType: unique symbol;

/** Where a kind lives in the API. `T` is what its objects look like; it exists for the compiler alone. */
export interface Resource<T extends KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly [objectType]?: T;
}

/** Which object: `namespace` is for namespaced kinds alone. */
export interface ObjectName {
  readonly name: string;
  readonly namespace?: string | undefined;
}

/** `v1` or `keelson.dev/v1alpha1`. */
export function apiVersionOf({ group, version }: Pick<Resource<KubeObject>, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`;
}

/** The key of an object in stores and queues: `namespace/name`, or `name` where there is no namespace. */
export function keyOf(object: KubeObject): string {
  const { namespace, name = '' } = object.metadata ?? {};
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

/** The name that a key stands for. */
export function nameOfKey(key: string): ObjectName {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** The URL path of a collection, an object or its subresource. Without a namespace a collection spans all of them. */
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
