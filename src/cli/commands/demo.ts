import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Fault } from '../../core/fault.ts';
import { linkSignals } from '../../runtime/signals.ts';
import { type Command, parseFlags } from '../command.ts';
import type { DemoOutcome } from '../../demo/report.ts';
import { removeAllDemos, runDemo } from '../../demo/run-demo.ts';

const usage =
  'keelson demo [--keep] [--clean] [--containerd-dir DIR] [--base-dir DIR] [--report FILE]\n' +
  '  --keep            leaves the node running at the end, and says how to look around\n' +
  '  --clean           removes every kept or killed demo, and runs none\n' +
  '  --containerd-dir  directory with containerd, ctr, containerd-shim-runc-v2 and runc; default: those in PATH\n' +
  '  --base-dir        where the directory of the run is made; default: /var/tmp\n' +
  '  --report          gets what happened as JSON';

const EXIT_CODES: Readonly<Record<DemoOutcome, number>> = {
  passed: 0,
  failed: 1,
  refused: 1,
  interrupted: 130,
};

export const demoCommand: Command = {
  summary: 'a pod on real containerd with its volume, its network and its policy, on a node of its own',
  usage,
  async run({ args, env, signal, stdout }) {
    const flags = parseFlags(
      args,
      {
        keep: { type: 'boolean', default: false },
        clean: { type: 'boolean', default: false },
        'containerd-dir': { type: 'string' },
        'base-dir': { type: 'string', default: '/var/tmp' },
        report: { type: 'string' },
      },
      usage,
    );
    if (flags.clean) {
      const removed = await removeAllDemos(flags['base-dir'], stdout);
      stdout.write(removed === 0 ? 'there is no demo to remove\n' : `demos removed: ${removed}\n`);
      return 0;
    }
    const root = installRoot(import.meta.dirname);
    // `keelson demo | head`: without a reader the story ends, and the cleaning up follows.
    const unread = new AbortController();
    stdout.on('error', () => unread.abort(new DOMException('nobody reads the output', 'AbortError')));
    using stop = linkSignals(signal, unread.signal);
    const report = await runDemo(
      {
        keelson: join(root, 'bin/keelson'),
        cniBinDir: join(root, 'dist/cni'),
        containerdDir: flags['containerd-dir'],
        baseDir: flags['base-dir'],
        path: env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        keep: flags.keep,
        reportFile: flags.report,
      },
      { terminal: stdout, signal: stop.signal },
    );
    return EXIT_CODES[report.outcome];
  },
};

/** The directory above this code, bundled or not, that has `bin/keelson`. */
function installRoot(directory: string): string {
  if (existsSync(join(directory, 'bin/keelson'))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Fault('bug', `${import.meta.dirname} is in no installation of keelson`);
  return installRoot(parent);
}
