import { PassThrough } from 'node:stream';
import type { CliContext } from '../../src/cli/context.ts';
import { runCli } from '../../src/cli/run.ts';

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `keelson ARGS` in this process, with an empty environment. */
export async function runFakeCli(...args: readonly string[]): Promise<CliResult> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const context: CliContext = {
    env: {},
    signal: new AbortController().signal,
    stdin,
    stdout,
    stderr,
    exitCode: 0,
  };
  const code = await runCli(args, context);
  const read = (stream: PassThrough): string => String(stream.read() ?? '');
  return { code, stdout: read(stdout), stderr: read(stderr) };
}
