import { Fault } from '../../src/core/fault.ts';
import { POOL_PARAMETERS, type PoolParameters } from '../../src/core/pools/pool-parameters.ts';
import { parseQuantity } from '../../src/core/kube-text/quantity.ts';
import { ANY_SIZE, type SizeRange } from '../../src/core/volumes/volume-size.ts';
import { parseParameters } from './translate.ts';

/** Marks a CSI ephemeral inline volume; kubelet sets it, and overrides a pod's own value. */
const EPHEMERAL = 'csi.storage.k8s.io/ephemeral';

/** Whether the volume context is that of an ephemeral inline volume. */
export function isInline(context: Readonly<Record<string, string>>): boolean {
  return Object.hasOwn(context, EPHEMERAL) && context[EPHEMERAL] === 'true';
}

/**
 * Parses volumeAttributes of a pod: those of a StorageClass, and `size`. Throws `invalid` for
 * others.
 */
export function parseInline(
  context: Readonly<Record<string, string>>,
): PoolParameters & { readonly range: SizeRange } {
  const { size, ...parameters } = context;
  const choice = parseParameters(parameters, 'volumeAttributes', [...POOL_PARAMETERS, 'size']);
  if (size === undefined) return { ...choice, range: ANY_SIZE };
  const requiredBytes = parseQuantity(size, 'volumeAttributes: size');
  if (requiredBytes === 0n)
    throw new Fault('invalid', 'volumeAttributes: size is 0; expected a size like 1Gi');
  return { ...choice, range: { requiredBytes, limitBytes: 0n } };
}
