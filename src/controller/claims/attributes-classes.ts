import type { AttributesClassView } from '../../core/claims/attributes-class.ts';
import { VOLUME_ATTRIBUTES_CLASSES, type VolumeAttributesClass } from '../../kube/built-in.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';

/** The VolumeAttributesClasses of all drivers. Empty as long as the cluster does not serve them (Kubernetes before 1.34). */
export type AttributesClasses = Informer<VolumeAttributesClass>;

/** Nothing is read before it runs. */
export function createAttributesClasses(deps: InformerDeps): AttributesClasses {
  return new Informer({ resource: VOLUME_ATTRIBUTES_CLASSES }, deps);
}

/** A class by its name, as decisions see it; undefined when there is none. */
export function findAttributesClass(
  { store }: Pick<AttributesClasses, 'store'>,
  name: string | undefined,
): AttributesClassView | undefined {
  const found = name === undefined ? undefined : store.get(name);
  if (found === undefined) return undefined;
  const { metadata, driverName, parameters = {} } = found;
  return { name: metadata?.name ?? '', driverName, parameters };
}
