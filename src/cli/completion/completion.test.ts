import { expect, test } from 'vitest';
import { runFakeCli } from '../../../test/fakes/fake-cli.ts';
import { PLUGIN } from '../program.ts';

/** Values and directive that `keelson __complete LINE` prints. */
async function completions(...line: readonly string[]): Promise<readonly string[]> {
  const args = line[0] === PLUGIN ? [PLUGIN, '__complete', ...line.slice(1)] : ['__complete', ...line];
  const { code, stdout, stderr } = await runFakeCli(...args);
  expect([code, stderr]).toEqual([0, '']);
  return stdout
    .trimEnd()
    .split('\n')
    .map((each) => each.split('\t')[0] ?? '');
}

const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['commands', ['vol'], ['volume', ':4']],
  ['subcommands', ['volume', ''], ['export', 'import', 'delete', 'help', ':4']],
  ['flags', ['cri-proxy', '--l'], ['--listen', '--log-level', ':4']],
  ['shared flags of a verb', [PLUGIN, 'why', '--names'], ['--namespace', ':4']],
  ['the values of a flag', ['controller', '--snapshots', ''], ['auto', 'all', 'driver', 'off', ':4']],
  ['the values of a flag after =', ['version', '--output=y'], ['--output=yaml', ':4']],
  ['the values of a short flag', [PLUGIN, 'status', '-o', 'w'], ['wide', ':4']],
  ['the choices of an argument', ['completion', 'b'], ['bash', ':4']],
  ['files, by the shell', ['agent', '--config', ''], [':0']],
  ['directories, by the shell', ['agent', '--state-dir', '/v'], [':16']],
  ['nothing for free text', ['agent', '--node-name', ''], [':4']],
  ['no flags after --', ['volume', 'delete', '--', '--r'], [':4']],
  ['kinds, without a space', [PLUGIN, 'why', ''], ['pvc/', 'pod/', ':6']],
  ['kinds of the verb', [PLUGIN, 'release', 'v'], ['volume/', ':6']],
  ['no names without a cluster', [PLUGIN, '--kubeconfig', '/nowhere', 'why', 'pvc/'], [':4']],
  ['nothing for an unknown command', ['nope', ''], [':4']],
];
for (const [what, line, expected] of cases) {
  test(`completes ${what}`, async () => {
    expect(await completions(...line)).toEqual(expected);
  });
}

test('describes its candidates after a tab', async () => {
  const { stdout } = await runFakeCli('__complete', 'version');
  expect(stdout).toBe('version\tPrint the version of Keelson, of Node and of the served interfaces\n:4\n');
});
