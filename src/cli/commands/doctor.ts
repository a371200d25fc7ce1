import { type Command, OUTPUT_FLAG, outputFormat, parseFlags } from '../command.ts';
import { runDoctor } from '../node-doctor.ts';
import { describeMissing } from '../../preflight/preflight.ts';
import { renderTable } from '../../runtime/text-table.ts';

const usage = 'keelson doctor [--state-dir DIR] [--run-dir DIR] [-o text|json]';

export const doctorCommand: Command = {
  summary: 'what this machine lacks, why it matters and what to do; exit code 1 if anything',
  usage,
  async run({ args, env, signal, stdout }) {
    const flags = parseFlags(
      args,
      {
        ...OUTPUT_FLAG,
        'state-dir': { type: 'string', default: '/var/lib/keelson' },
        'run-dir': { type: 'string', default: '/run/keelson' },
      },
      usage,
    );
    const format = outputFormat(flags.output);
    const findings = await runDoctor({
      stateDir: flags['state-dir'],
      runDir: flags['run-dir'],
      demoDir: '/var/tmp',
      path: env['PATH'] ?? '',
      signal,
    });
    const ok = findings.every((finding) => finding.ok);
    if (format === 'json') {
      stdout.write(`${JSON.stringify({ ok, findings })}\n`);
    } else {
      const rows = findings.map(({ check, ok: holds, found }) => [holds ? 'ok' : 'MISSING', check, found]);
      stdout.write(renderTable(['', 'CHECK', 'FOUND'], rows));
      if (!ok) stdout.write(`\n${describeMissing(findings)}`);
    }
    return ok ? 0 : 1;
  },
};
