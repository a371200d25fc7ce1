import { Fault } from '../../src/core/fault.ts';
import { POOL_PARAMETERS, type PoolParameters } from '../../src/core/pools/pool-parameters.ts';
import { parseQuantity } from '../../src/core/kube-text/quantity.ts';
import { ANY_SIZE, type SizeRange } from '../../src/core/volumes/volume-size.ts';
import { parseParameters } from './translate.ts';

/**
 * Says that a volume is written in its pod and lives as long; kubelet adds it, whatever a pod says
 * itself.
 */
const EPHEMERAL = 'csi.storage.k8s.io/ephemeral';

/** Whether the volume is one of a pod's own, to be made now. */
export function isInline(context: Readonly<Record<string, string>>): boolean {
  return Object.hasOwn(context, EPHEMERAL) && context[EPHEMERAL] === 'true';
}

/**
 * The attributes of a volume in a pod: those of a StorageClass, and a size. Throws `invalid` for
 * others.
 */
export function parseInline(
  context: Readonly<Record<string, string>>,
): PoolParameters & { readonly range: SizeRange } {
  const { size, ...parameters } = context;
  const choice = parseParameters(parameters, 'volumeAttributes', [...POOL_PARAMETERS, 'size']);
  if (size === undefined) return { ...choice, range: ANY_SIZE };
  const requiredBytes = parseQuantity(size, 'volumeAttributes: size');
  if (requiredBytes === 0n) throw new Fault('invalid', 'volumeAttributes: size is 0; write for example 1Gi');
  return { ...choice, range: { requiredBytes, limitBytes: 0n } };
}
