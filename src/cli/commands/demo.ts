import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { Fault } from '../../core/fault.ts';
import type { DemoOutcome } from '../../demo/report.ts';
import { removeAllDemos, runDemo } from '../../demo/run-demo.ts';
import { linkSignals } from '../../runtime/signals.ts';
import type { CliContext } from '../context.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';

const EXIT_BY_OUTCOME: Readonly<Record<DemoOutcome, ExitCode>> = {
  passed: EXIT.ok,
  failed: EXIT.failed,
  refused: EXIT.failed,
  interrupted: EXIT.interrupted,
};

/** Creates `keelson demo`. */
export function demoCommand(context: CliContext): CommandUnknownOpts {
  const { env, signal, stdout } = context;
  return new Command()
    .option('--keep', 'leave the node running at the end', false)
    .option('--clean', 'remove all kept and killed demos, and run none', false)
    .option(
      '--containerd-dir <dir>',
      'directory of containerd, ctr, containerd-shim-runc-v2 and runc (default: PATH)',
    )
    .option('--base-dir <dir>', 'parent of the directory of the run', '/var/tmp')
    .option('--report <file>', 'write a report as JSON')
    .action(async ({ keep, clean, containerdDir, baseDir, report: reportFile }) => {
      if (clean) {
        const removed = await removeAllDemos(baseDir, stdout);
        stdout.write(removed === 0 ? 'no demos found\n' : `demos removed: ${removed}\n`);
        return;
      }
      const root = installRoot(import.meta.dirname);
      // A closed pipe (`keelson demo | head`) stops the demo, which then cleans up.
      const unread = new AbortController();
      stdout.on('error', () => unread.abort(new DOMException('standard output is closed', 'AbortError')));
      using stop = linkSignals(signal, unread.signal);
      const { outcome } = await runDemo(
        {
          keelson: join(root, 'bin/keelson'),
          cniBinDir: join(root, 'dist/cni'),
          containerdDir,
          baseDir,
          path: env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          keep,
          reportFile,
        },
        { terminal: stdout, signal: stop.signal },
      );
      context.exitCode = EXIT_BY_OUTCOME[outcome];
    });
}

/** Returns the nearest directory at or above `directory` that has `bin/keelson`. */
function installRoot(directory: string): string {
  if (existsSync(join(directory, 'bin/keelson'))) return directory;
  const parent = dirname(directory);
  if (parent === directory) {
    throw new Fault('bug', `no Keelson installation found above ${import.meta.dirname}`);
  }
  return installRoot(parent);
}
