import { BACKENDS, type BackendKind } from '../volumes/backend-features.ts';
import { parseEncrypted } from '../volumes/encryption.ts';
import { Fault } from '../fault.ts';
import { parsePoolSelector, type PoolSelector } from './pool-selector.ts';

/** What a StorageClass, and a volume in a pod's own spec, can say of the pool that they want. */
export const POOL_PARAMETERS: readonly string[] = ['pool', 'poolSelector', 'backend', 'encrypted'];

/** Which pools come into question; those that meet all that is given. */
export interface PoolParameters {
  /** The pool by its name. */
  readonly pool: string | undefined;
  readonly poolSelector: PoolSelector | undefined;
  readonly backend: BackendKind | undefined;
  /** Whether the volume is encrypted at rest. */
  readonly encrypted: boolean;
}

/**
 * Reads `POOL_PARAMETERS`, and no others. Throws `invalid` for a value that cannot be; `field` says
 * where they stand.
 */
export function parsePoolParameters(
  parameters: Readonly<Record<string, string>>,
  field: string,
): PoolParameters {
  const value = (key: string): string | undefined =>
    Object.hasOwn(parameters, key) ? parameters[key] : undefined;
  const selector = value('poolSelector');
  return {
    pool: value('pool'),
    poolSelector: selector === undefined ? undefined : parsePoolSelector(selector, `${field}: poolSelector`),
    backend: parseBackend(value('backend'), field),
    encrypted: parseEncrypted(value('encrypted'), field),
  };
}

function parseBackend(text: string | undefined, field: string): BackendKind | undefined {
  if (text === undefined) return undefined;
  const backend = BACKENDS.find((known) => known === text);
  if (backend !== undefined) return backend;
  throw new Fault(
    'invalid',
    `${field}: there is no backend ${JSON.stringify(text)}; possible are ${BACKENDS.join(', ')}`,
  );
}
