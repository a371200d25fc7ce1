import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { completionScript, SHELLS } from '../../../src/cli/completion/scripts.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { KEELSON } from './agent-process.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-completion-'));
  await symlink(KEELSON, join(directory, 'keelson'));
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

const env = (): Record<string, string> => ({
  PATH: `${directory}:/usr/bin:/bin`,
  HOME: directory,
  TERM: 'dumb',
});

/** Completes `line` in a real bash; `compopt` outside of a completion is replaced. */
async function bash(line: string): Promise<readonly string[]> {
  const script = `
source <(keelson completion bash)
compopt() { echo "compopt $*" >&2; }
COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
__keelson_complete
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await runCommand('bash', ['-c', script, 'bash', line], { env: env(), cwd: directory });
  return stdout.trimEnd().split('\n');
}

test('bash completes commands, flags, values behind = and files', async () => {
  expect(await bash('keelson vol')).toEqual(['volume']);
  expect(await bash('keelson volume ')).toEqual(['export', 'import', 'delete', 'help']);
  expect(await bash('keelson cri-proxy --l')).toEqual(['--listen', '--log-level']);
  expect(await bash('keelson version --output=y')).toEqual(['yaml']);
  await writeFile(join(directory, 'agent.yaml'), '');
  expect(await bash('keelson agent --config ag')).toEqual(['agent.yaml']);
  expect(await bash('keelson nonsense ')).toEqual(['']);
});

test('fish completes with descriptions', async ({ skip }) => {
  const found = await runCommand('sh', ['-c', 'command -v fish'], { accept: [1, 127] });
  if (found.code !== 0) skip('fish is not installed');
  const script = 'keelson completion fish | source; complete -C $argv[1]';
  const fish = async (line: string): Promise<string> =>
    (await runCommand('fish', ['--no-config', '-c', script, line], { env: env(), cwd: directory })).stdout;
  expect(await fish('keelson vol')).toBe('volume\tExport, import or delete a volume of this node\n');
  expect(await fish('keelson version --output=y')).toBe('--output=yaml\n');
});

test('kubectl completes the plugin through kubectl_complete-keelson', async () => {
  const plugin = join(KEELSON, '../kubectl_complete-keelson');
  const { stdout } = await runCommand(plugin, ['why', ''], { env: env() });
  expect(stdout).toBe('pvc/\npod/\n:6\n');
});

for (const shell of SHELLS) {
  test(`the ${shell} script is valid`, async ({ skip }) => {
    const found = await runCommand('sh', ['-c', `command -v ${shell}`], { accept: [1, 127] });
    if (found.code !== 0) skip(`${shell} is not installed`);
    const file = join(directory, `script.${shell}`);
    await writeFile(file, completionScript(shell));
    await runCommand(shell, [shell === 'fish' ? '--no-execute' : '-n', file], { env: env() });
  });
}
