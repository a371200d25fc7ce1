import { CommanderError } from '@commander-js/extra-typings';
import { Fault } from '../core/fault.ts';

/** Exit codes of `keelson`: the only list. `keelson --help` prints it. */
export const EXIT_CODES = [
  { code: 0, name: 'ok', meaning: 'success' },
  { code: 1, name: 'failed', meaning: 'failure, or doctor or why found a problem' },
  // sysexits(3), EX_USAGE.
  { code: 64, name: 'usage', meaning: 'invalid command line or configuration' },
  // sysexits(3), EX_UNAVAILABLE; by bin/keelson, before this code runs.
  { code: 69, name: 'notBuilt', meaning: 'keelson is not built, or its Node is missing' },
  // 128 + SIGINT, as shells report it.
  { code: 130, name: 'interrupted', meaning: 'interrupted by SIGINT or SIGTERM' },
] as const;

export type ExitCode = (typeof EXIT_CODES)[number]['code'];

/** Codes by name. */
export const EXIT = Object.fromEntries(EXIT_CODES.map(({ name, code }) => [name, code])) as {
  readonly [Entry in (typeof EXIT_CODES)[number] as Entry['name']]: Entry['code'];
};

/** Returns the exit code for an error that ended a command. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  switch (Fault.from(error).kind) {
    case 'cancelled':
      return EXIT.interrupted;
    case 'invalid':
      return EXIT.usage;
    default:
      return EXIT.failed;
  }
}
