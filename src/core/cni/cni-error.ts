import { CNI_CODES } from './cni-version.ts';
import type { Fault, FaultKind } from '../fault.ts';

/** What a plugin prints on standard output when it fails. */
export interface CniError {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/** Translates a fault into a CNI error. A protocol refusal carries its own code. */
export function toCniError(fault: Fault, cniVersion: string): CniError {
  const { cniCode, ownNetns, ...fields } = fault.fields;
  const byKind = ownNetns === true ? CNI_CODES.invalidNetns : CODES[fault.kind];
  const details = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
  return {
    cniVersion,
    code: typeof cniCode === 'number' ? cniCode : byKind,
    msg: fault.kind === 'bug' ? `${fault.message}; see the log of the keelson agent` : fault.message,
    ...(details.length === 0 ? {} : { details: details.join(' ') }),
  };
}

const CODES: Readonly<Record<FaultKind, number>> = {
  invalid: CNI_CODES.invalidConfig,
  'out-of-range': CNI_CODES.invalidConfig,
  unsupported: CNI_CODES.unsupportedField,
  'not-found': CNI_CODES.unknownContainer,
  exhausted: CNI_CODES.tryAgainLater,
  busy: CNI_CODES.tryAgainLater,
  unavailable: CNI_CODES.tryAgainLater,
  cancelled: CNI_CODES.tryAgainLater,
  timeout: CNI_CODES.tryAgainLater,
  conflict: CNI_CODES.conflict,
  precondition: CNI_CODES.notAsMade,
  denied: CNI_CODES.denied,
  bug: CNI_CODES.internal,
};
