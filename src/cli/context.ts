import type { ExitCode } from './exit-codes.ts';

/** What commands use of the process; only main.ts touches the process itself. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream;
  /** Set by a command that ends without an error; default 0. */
  exitCode: ExitCode;
}
