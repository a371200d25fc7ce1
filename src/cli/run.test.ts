import { describe, expect, it, test } from 'vitest';
import { runFakeCli } from '../../test/fakes/fake-cli.ts';
import { Fault, type FaultKind } from '../core/fault.ts';
import { VERSION } from '../version.ts';
import { EXIT, EXIT_CODES, exitCodeOf } from './exit-codes.ts';
import { PLUGIN } from './program.ts';

const COMMANDS = [
  ['agent'],
  ['controller'],
  ['cri-proxy'],
  ['status'],
  ['volume', 'export'],
  ['volume', 'import'],
  ['volume', 'delete'],
  ['doctor'],
  ...['status', 'volumes', 'nodes', 'why', 'doctor', 'release'].map((verb) => ['cluster', verb]),
  ['cni-config'],
  ['install-cni'],
  ['install-host'],
  ['uninstall-node'],
  ['demo'],
  ['completion'],
  ['version'],
];

describe('help', () => {
  it('lists every command and every exit code', async () => {
    const { code, stdout, stderr } = await runFakeCli();
    expect([code, stderr]).toEqual([0, '']);
    for (const [name = ''] of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    for (const entry of EXIT_CODES) {
      expect(stdout).toMatch(new RegExp(`^  ${entry.code} +${entry.meaning}$`, 'm'));
    }
    expect((await runFakeCli('--help')).stdout).toBe(stdout);
    expect((await runFakeCli('help')).stdout).toBe(stdout);
    expect((await runFakeCli('help', '--help')).stdout).toBe(stdout);
  });

  for (const path of COMMANDS) {
    it(`of ${path.join(' ')} describes its options`, async () => {
      const { code, stdout, stderr } = await runFakeCli(...path, '--help');
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(new RegExp(`^Usage: keelson ${path.join(' ')} `));
      expect(stdout).toMatch(/^ +-h, --help +show help$/m);
      // Every option has a description.
      expect(stdout).not.toMatch(/^ +(-\w, )?--[a-z-]+( <\S+>)?$\n(?! {10})/m);
    });
  }

  it('of a subcommand is also printed by the command help', async () => {
    for (const path of [['volume'], ['volume', 'export'], ['cluster', 'why']]) {
      const { code, stdout, stderr } = await runFakeCli('help', ...path);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toBe((await runFakeCli(...path, '--help')).stdout);
    }
    expect((await runFakeCli(PLUGIN, 'help', 'why')).stdout).toMatch(/^Usage: kubectl keelson why /);
  });

  it('names the plugin as kubectl users call it', async () => {
    const { stdout } = await runFakeCli(PLUGIN, 'why', '--help');
    expect(stdout).toMatch(/^Usage: kubectl keelson why \[options\] <kind\/name...>/);
    expect(stdout).toMatch(/--kubeconfig <file>/);
    expect(stdout).toContain('Examples:\n  kubectl keelson why pvc/data\n');
  });
});

describe('a wrong command line', () => {
  const cases: readonly (readonly [string, readonly string[], string, string])[] = [
    ['an unknown command', ['agnt'], "unknown command 'agnt'; did you mean agent?", 'keelson'],
    [
      'an unknown subcommand',
      ['volume', 'exprt'],
      "unknown command 'exprt'; did you mean export?",
      'keelson volume',
    ],
    ['help for an unknown command', ['help', 'agnt'], "unknown command 'agnt'", 'keelson'],
    [
      'help for an unknown subcommand',
      ['help', 'volume', 'exprt'],
      "unknown command 'exprt'",
      'keelson volume',
    ],
    [
      'an unknown flag',
      ['agent', '--stat-dir', '/x'],
      "unknown option '--stat-dir'; did you mean --state-dir?",
      'keelson agent',
    ],
    [
      'an unknown flag of the plugin, by its shared flags',
      [PLUGIN, 'status', '--kubconfig', 'x'],
      "unknown option '--kubconfig'; did you mean --kubeconfig?",
      'kubectl keelson status',
    ],
    [
      'a confirmation that a verb does not ask for',
      ['cluster', 'status', '--yes'],
      "unknown option '--yes'",
      'keelson cluster status',
    ],
    [
      'a missing value',
      ['status', '--run-dir'],
      "option '--run-dir <dir>' argument missing",
      'keelson status',
    ],
    [
      'a missing flag',
      ['cri-proxy', '--listen', '/x'],
      "required option '--runtime <socket>' not specified",
      'keelson cri-proxy',
    ],
    ['a missing argument', ['volume', 'delete'], "missing required argument 'id'", 'keelson volume delete'],
    ['a stray argument', ['status', 'x'], 'too many arguments', 'keelson status'],
    [
      'a number that is none',
      ['controller', '--qps', 'many'],
      "option '--qps <n>' argument 'many' is invalid. It must be a whole number above 0.",
      'keelson controller',
    ],
  ];
  for (const [what, args, message, path] of cases) {
    it(`with ${what} ends with exit code 64, the message and where to read on`, async () => {
      const { code, stdout, stderr } = await runFakeCli(...args);
      expect([code, stdout]).toEqual([EXIT.usage, '']);
      expect(stderr).toContain(`keelson: ${message}`);
      expect(stderr).toMatch(new RegExp(`\nsee '${path} --help'\n$`));
    });
  }

  it('without a required subcommand prints help on standard error', async () => {
    for (const args of [['volume'], ['cluster'], [PLUGIN]]) {
      const { code, stdout, stderr } = await runFakeCli(...args);
      expect([code, stdout]).toEqual([EXIT.usage, '']);
      expect(stderr).toMatch(/^Usage: .*keelson/);
    }
  });
});

describe('-o', () => {
  const printing = [
    ['status'],
    ['doctor'],
    ['version'],
    ['cni-config'],
    ['volume', 'import'],
    ['volume', 'delete'],
    ...COMMANDS.filter(([name]) => name === 'cluster'),
  ];
  for (const path of printing) {
    it(`of ${path.join(' ')} takes text, wide, json and yaml`, async () => {
      const { code, stderr } = await runFakeCli(...path, '-o', 'xml');
      expect(code).toBe(EXIT.usage);
      expect(stderr).toMatch(/argument 'xml' is invalid. Allowed choices are text, wide, json, yaml\./);
    });
  }

  it('prints the same data in every format', async () => {
    expect((await runFakeCli('version')).stdout).toMatch(new RegExp(`^keelson ${VERSION} \\(Node v`));
    expect(JSON.parse((await runFakeCli('version', '-o', 'json')).stdout)).toMatchObject({
      version: VERSION,
      cri: 'runtime.v1',
    });
    expect((await runFakeCli('version', '-o', 'yaml')).stdout).toContain('\ncri: runtime.v1\n');
  });
});

describe('exit codes', () => {
  const kinds: readonly (readonly [FaultKind, number])[] = [
    ['invalid', 64],
    ['cancelled', 130],
    ['not-found', 1],
    ['denied', 1],
    ['unavailable', 1],
    ['bug', 1],
  ];
  test.each(kinds)('a fault %s ends with %i', (kind, code) => {
    expect(exitCodeOf(new Fault(kind, 'x'))).toBe(code);
  });

  it('of an unreachable agent is 1, with one line on standard error', async () => {
    const { code, stdout, stderr } = await runFakeCli('status', '--run-dir', '/nowhere');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^keelson: no agent listens at \/nowhere\/admin\.sock; .*\n$/);
  });

  it('of an invalid KIND/NAME is 64, also without a cluster', async () => {
    for (const args of [
      ['why', 'foo'],
      ['why', 'pvc/a/b'],
      ['release', 'pod', 'x'],
    ]) {
      const { code, stdout, stderr } = await runFakeCli(PLUGIN, ...args);
      expect([code, stdout]).toEqual([64, '']);
      expect(stderr).toMatch(/^keelson: invalid argument "[^"]+"; expected \w+\/NAME or \w+\/NAME\n$/);
    }
  });

  it('of an unreadable configuration is 64', async () => {
    const { code, stderr } = await runFakeCli('cni-config', '--config', '/nowhere');
    expect([code, stderr]).toEqual([64, 'keelson: cannot read --config /nowhere: ENOENT\n']);
  });
});
