import type { KubeClient } from '../../kube/client.ts';
import type { Informer } from '../../kube/informer.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';

/** Field manager of what the controller applies in its own name. */
export const FIELD_MANAGER = 'keelson-controller';

interface StatusWrite<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** Holds the object, which is not namespaced. */
  readonly informer: Pick<Informer<T>, 'remember'>;
  readonly client: Pick<KubeClient, 'patch'>;
}

/**
 * Applies fields of the status of `object`, as its only owner. With the UID: a re-created object of
 * that name is another object. Rejects as `KubeClient.patch`.
 */
export async function applyStatus<T extends KubeObject>(
  { metadata }: T,
  status: object,
  { resource, informer, client }: StatusWrite<T>,
  signal: AbortSignal,
): Promise<void> {
  const { name = '', uid } = metadata ?? {};
  const applied = await client.patch(
    resource,
    { name },
    { apply: { metadata: { uid }, status }, fieldManager: FIELD_MANAGER, force: true },
    { subresource: 'status', signal },
  );
  informer.remember(applied);
}
