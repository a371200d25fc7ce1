import { Fault } from '../fault.ts';

/** Every version of the CNI specification, all of which are served. */
export const CNI_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** What a configuration without `cniVersion` means. */
const UNSTATED: CniVersion = '0.1.0';

/** Error codes of the CNI specification (SPEC.md, "Error"), and ours from 100 on. */
export const CNI_CODES = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  undecodable: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  unavailable: 50,
  conflict: 100,
  notAsMade: 101,
  denied: 102,
  internal: 199,
} as const;

export type CniCode = (typeof CNI_CODES)[keyof typeof CNI_CODES];

/** A refusal of a request by the protocol itself. */
export function cniFault(code: CniCode, message: string): Fault {
  return new Fault(code === CNI_CODES.unsupportedField ? 'unsupported' : 'invalid', message, {
    fields: { cniCode: code },
  });
}

/** The version that a configuration asks for. Throws code 1 for one that nobody has specified. */
export function parseCniVersion(value: unknown): CniVersion {
  if (value === undefined || value === '') return UNSTATED;
  const version = CNI_VERSIONS.find((known) => known === value);
  if (version !== undefined) return version;
  throw cniFault(
    CNI_CODES.incompatibleVersion,
    `cniVersion ${JSON.stringify(value)} is not supported; supported are ${CNI_VERSIONS.join(', ')}`,
  );
}

/** Whether `version` is `least` or newer. */
export function isAtLeast(version: CniVersion, least: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(least);
}
