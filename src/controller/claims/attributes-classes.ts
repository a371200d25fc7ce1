import type { AttributesClassView } from '../../core/claims/attributes-class.ts';
import { VOLUME_ATTRIBUTES_CLASSES, type VolumeAttributesClass } from '../../kube/built-in.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';

/**
 * The VolumeAttributesClasses of all drivers. Empty while the cluster does not serve the kind
 * (Kubernetes before 1.34).
 */
export type AttributesClasses = Informer<VolumeAttributesClass>;

/** Creates the informer; nothing is listed before it runs. */
export function createAttributesClasses(deps: InformerDeps): AttributesClasses {
  return new Informer({ resource: VOLUME_ATTRIBUTES_CLASSES }, deps);
}

/** Returns the view of a class by its name; undefined when it does not exist. */
export function findAttributesClass(
  { store }: Pick<AttributesClasses, 'store'>,
  name: string | undefined,
): AttributesClassView | undefined {
  const found = name === undefined ? undefined : store.get(name);
  if (found === undefined) return undefined;
  const { metadata, driverName, parameters = {} } = found;
  return { name: metadata?.name ?? '', driverName, parameters };
}
