import { Fault } from '../core/fault.ts';
import type { CliContext } from './context.ts';
import { complete, formatCompletion } from './completion/completion.ts';
import { EXIT, type ExitCode, exitCodeOf } from './exit-codes.ts';
import { CommandLineError, createProgram, findCommand, PLUGIN } from './program.ts';

/**
 * Hidden command that completion scripts call; its name and output are cobra's, which kubectl
 * expects.
 */
const COMPLETE = '__complete';

/** Runs a command line, without the program's name. Resolves to the exit code; never rejects. */
export async function runCli(args: readonly string[], context: CliContext): Promise<ExitCode> {
  try {
    const own = args[0] === PLUGIN ? args.slice(1) : args;
    if (own[0] === COMPLETE) {
      const line = own.slice(1);
      const program = await createProgram(args[0] === PLUGIN ? args : line, context);
      context.stdout.write(formatCompletion(await complete(program, line)));
      return EXIT.ok;
    }
    const program = await createProgram(args, context);
    const [, ...names] = own.filter((arg) => !arg.startsWith('-'));
    if (args.length === 0) program.outputHelp();
    else if (own[0] === 'help') findCommand(program, names).outputHelp();
    else await program.parseAsync(own, { from: 'user' });
    return context.exitCode;
  } catch (error) {
    return report(error, context);
  }
}

function report(error: unknown, { stderr }: CliContext): ExitCode {
  if (error instanceof CommandLineError) {
    const { reason, path } = error;
    // Help has been printed already: on request, or because a subcommand is missing.
    if (reason.code.startsWith('commander.help')) return exitCodeOf(reason);
    stderr.write(`keelson: ${usageMessage(reason.message)}\nsee '${path} --help'\n`);
    return exitCodeOf(reason);
  }
  const code = exitCodeOf(error);
  if (code === EXIT.interrupted) return code;
  const fault = Fault.from(error);
  const stack = fault.kind === 'bug' && error instanceof Error ? (error.stack ?? error.message) : undefined;
  stderr.write(`keelson: ${stack ?? fault.message}\n`);
  return code;
}

/** `error: unknown option '--x'\n(Did you mean --y?)` on one line. */
function usageMessage(message: string): string {
  return message.replace(/^error: /, '').replace(/\n\(Did you mean (.*)\?\)$/s, '; did you mean $1?');
}
