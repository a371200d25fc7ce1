import { BACKENDS, type BackendKind } from '../volumes/backend-features.ts';
import { parseEncrypted } from '../volumes/encryption.ts';
import { Fault } from '../fault.ts';
import { parsePoolSelector, type PoolSelector } from '../volumes/pool-selector.ts';

/** Parameters of a StorageClass and of a CSI ephemeral inline volume that select a pool. */
export const POOL_PARAMETERS: readonly string[] = ['pool', 'poolSelector', 'backend', 'encrypted'];

/** Which pools are eligible: those that satisfy all given parameters. */
export interface PoolParameters {
  /** Name of the pool. */
  readonly pool: string | undefined;
  readonly poolSelector: PoolSelector | undefined;
  readonly backend: BackendKind | undefined;
  /** Whether the volume is encrypted at rest. */
  readonly encrypted: boolean;
}

/** Parses `POOL_PARAMETERS` and ignores other keys. Throws `invalid`, which names `field`. */
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
    `${field}: unknown backend ${JSON.stringify(text)}; expected ${BACKENDS.join(', ')}`,
  );
}
