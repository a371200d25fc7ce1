import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import type { CliContext } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { runDoctor } from '../node-doctor.ts';
import { renderFindings } from '../output/findings-text.ts';
import { formatOutput, outputOption } from '../output/output.ts';

/** Creates `keelson doctor`. */
export function doctorCommand(context: CliContext): CommandUnknownOpts {
  const { env, signal, stdout } = context;
  return new Command()
    .option('--state-dir <dir>', 'directory of pools and volume records', '/var/lib/keelson')
    .option('--run-dir <dir>', 'directory of the sockets of the agent', '/run/keelson')
    .addOption(outputOption())
    .action(async ({ stateDir, runDir, output }) => {
      const options = { stateDir, runDir, demoDir: '/var/tmp', path: env['PATH'] ?? '', signal };
      const findings = await runDoctor(options);
      const ok = findings.every((finding) => finding.ok);
      stdout.write(formatOutput(output, { ok, findings }, (wide) => renderFindings(findings, wide)));
      if (!ok) context.exitCode = EXIT.failed;
    });
}
