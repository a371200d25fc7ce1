import type { ParseArgsConfig } from 'node:util';
import { parseArgs } from 'node:util';
import { Fault } from '../core/fault.ts';

/** What a command gets from main: nothing else of the process is touched outside main.ts. */
export interface CommandContext {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream;
}

/** One command of `keelson`: resolves to its exit code, or throws a Fault that main prints. */
export interface Command {
  readonly summary: string;
  readonly usage: string;
  run(context: CommandContext): Promise<number>;
}

type Options = NonNullable<ParseArgsConfig['options']>;
type Values<O extends Options> = ReturnType<typeof parseArgs<{ options: O }>>['values'];

/** The flags of a command. Throws `invalid` with the command's usage for an unknown flag, a missing value or a stray argument. */
export function parseFlags<const O extends Options>(
  args: readonly string[],
  options: O,
  usage: string,
): Values<O> {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw usageFault(error, usage);
  }
}

/** As `parseFlags`, for a command that takes words besides flags; both in any order. */
export function parseWords<const O extends Options>(
  args: readonly string[],
  options: O,
  usage: string,
): { readonly flags: Values<O>; readonly words: readonly string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options,
      strict: true,
      allowPositionals: true,
    });
    return { flags: values, words: positionals };
  } catch (error) {
    throw usageFault(error, usage);
  }
}

function usageFault(error: unknown, usage: string): Fault {
  const reason = error instanceof Error ? (error.message.split('. ')[0] ?? error.message) : String(error);
  return new Fault('invalid', `${reason}\nusage: ${usage}`, { cause: error });
}

export const OUTPUT_FLAG = { output: { type: 'string', short: 'o', default: 'text' } } as const;

/** Checks `-o`: `text` or `json`. */
export function outputFormat(value: string): 'text' | 'json' {
  if (value === 'text' || value === 'json') return value;
  throw new Fault('invalid', `-o ${value}: the output is either text or json`);
}
