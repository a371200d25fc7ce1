import { Fault } from '../fault.ts';

/** Every version of the CNI specification; all are served. */
export const CNI_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
/** A version of the CNI specification. */
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** The version of a configuration without `cniVersion`. */
const UNSTATED: CniVersion = '0.1.0';

/** Error codes of the CNI specification (SPEC.md, "Error"), and Keelson's from 100 on. */
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

/** An error code of the CNI specification, or of Keelson. */
export type CniCode = (typeof CNI_CODES)[keyof typeof CNI_CODES];

/** Returns a refusal by the protocol itself. */
export function cniFault(code: CniCode, message: string): Fault {
  return new Fault(code === CNI_CODES.unsupportedField ? 'unsupported' : 'invalid', message, {
    fields: { cniCode: code },
  });
}

/** Parses the version of a configuration. Throws code 1 for an unknown one. */
export function parseCniVersion(value: unknown): CniVersion {
  if (value === undefined || value === '') return UNSTATED;
  const version = CNI_VERSIONS.find((known) => known === value);
  if (version !== undefined) return version;
  throw cniFault(
    CNI_CODES.incompatibleVersion,
    `cniVersion ${JSON.stringify(value)} is not supported; expected one of ${CNI_VERSIONS.join(', ')}`,
  );
}

/** Whether `version` is `least` or newer. */
export function isAtLeast(version: CniVersion, least: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(least);
}
