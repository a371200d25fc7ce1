import { ignoreClosedPipe } from './closed-pipe.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { runCli } from './run.ts';

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => stop.abort(new DOMException(`received ${signal}`, 'AbortError')));
}
process.on('unhandledRejection', (reason) => {
  const text = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
  process.stderr.write(`keelson: unhandled rejection: ${text}\n`);
  process.exit(EXIT.failed);
});

for (const stream of [process.stdout, process.stderr]) {
  ignoreClosedPipe(stream, (error) => {
    process.stderr.write(`keelson: cannot write the output: ${error.code ?? error.message}\n`);
    process.exit(EXIT.failed);
  });
}

const context: CliContext = {
  env: process.env,
  signal: stop.signal,
  // Opened on first use: a service may run with a closed standard input.
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  exitCode: EXIT.ok,
};
const code = await runCli(process.argv.slice(2), context);
// A credential plugin that does not end would keep the process alive. The callbacks run after
// earlier output, which a full pipe delays.
process.stderr.write('', () => process.stdout.write('', () => process.exit(code)));
