import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createProgram, PLUGIN } from '../../src/cli/program.ts';
import type { CliContext } from '../../src/cli/context.ts';

const ROOT = join(import.meta.dirname, '../..');
type Command = Awaited<ReturnType<typeof createProgram>>;

const KUBECTL = ['annotate', 'apply', 'create', 'delete', 'drain', 'exec', 'get', 'label', 'logs', 'patch'];
const KUBECTL_VERBS = new Set([...KUBECTL, 'rollout', 'wait']);
const SYSTEMCTL_VERBS = new Set(['daemon-reload', 'disable', 'enable', 'restart']);
/** Programs of the host that pages may use without further checks. */
const HOST_PROGRAMS = new Set(['ctr', 'docker', 'install']);

/** Splits a shell block into commands of words; comments and line continuations are resolved. */
export function splitCommands(text: string): string[][] {
  const lines = text.replaceAll(/\\\n\s*/g, '').split('\n');
  return lines
    .flatMap((line) => line.replace(/(^|\s)#.*/, '').split(/ && | \| |; /))
    .map((command) => command.match(/'[^']*'|"[^"]*"|[^\s'"]+(?:'[^']*'|"[^"]*"|[^\s'"])*/g) ?? [])
    .filter((words) => words.length > 0);
}

/** Throws if a documented command cannot work: an unknown target, verb, flag or file. */
export async function checkCommand(
  [program = '', ...args]: readonly string[],
  context: CliContext,
): Promise<void> {
  switch (program.split('/').at(-1)) {
    case 'make': {
      checkMake(args);
      return;
    }
    case 'keelson': {
      checkKeelson(await createProgram(args, context), args);
      return;
    }
    case 'kubectl': {
      await checkKubectl(args, context);
      return;
    }
    case 'helm': {
      checkPaths(args.filter((arg) => arg.startsWith('deploy/')));
      return;
    }
    case 'systemctl': {
      checkSystemctl(args);
      return;
    }
    case 'npx': {
      checkVitest(args);
      return;
    }
    case 'node': {
      checkPaths(args.slice(0, 1));
      return;
    }
    default:
      if (!HOST_PROGRAMS.has(program)) throw new Error(`program ${program} is not in the list`);
  }
}

function checkMake(args: readonly string[]): void {
  const makefile = readFileSync(join(ROOT, 'Makefile'), 'utf8');
  for (const arg of args) {
    if (arg.includes('=')) continue;
    if (!makefile.includes(`\n${arg}:`)) throw new Error(`make has no target ${arg}`);
  }
}

function checkKeelson(program: Command, args: readonly string[]): void {
  let command = program;
  for (const arg of args) {
    if (arg.startsWith('-')) {
      const [flag] = arg.split('=');
      const chain = [command, command.parent, command.parent?.parent ?? null];
      const known = chain.some((one) =>
        one?.options.some(({ long, short }) => long === flag || short === flag),
      );
      if (!known) throw new Error(`${command.name()} has no flag ${arg}`);
      continue;
    }
    const child = command.commands.find((candidate) => candidate.name() === arg);
    if (child !== undefined) command = child;
    else if (command.commands.length > 0 && command.registeredArguments.length === 0) {
      throw new Error(`${command.name()} has no command ${arg}`);
    }
  }
}

async function checkKubectl(args: readonly string[], context: CliContext): Promise<void> {
  if (args[0] === 'keelson') {
    const rest = args.slice(1);
    checkKeelson(await createProgram([PLUGIN, ...rest], context), rest);
    return;
  }
  const verb = args.find((arg, index) => !arg.startsWith('-') && args[index - 1] !== '-n');
  if (verb === undefined || !KUBECTL_VERBS.has(verb)) {
    throw new Error(`kubectl ${verb ?? ''} is not in the list of verbs`);
  }
  checkPaths(args.filter((arg) => arg.startsWith('deploy/') && !arg.includes('deployment/')));
  const separator = args.indexOf('--');
  if (separator !== -1) await checkCommand(args.slice(separator + 1), context);
}

function checkSystemctl([verb = '', ...units]: readonly string[]): void {
  if (!SYSTEMCTL_VERBS.has(verb)) throw new Error(`systemctl ${verb} is not in the list of verbs`);
  const known = readdirSync(join(ROOT, 'deploy/systemd'));
  for (const unit of units.filter((name) => !name.startsWith('-') && name !== 'kubelet')) {
    if (!known.some((file) => file === unit || file === `${unit}.service`)) {
      throw new Error(`deploy/systemd has no unit ${unit}`);
    }
  }
}

function checkVitest(args: readonly string[]): void {
  const project = args[args.indexOf('--project') + 1] ?? '';
  const config = readFileSync(join(ROOT, 'vitest.config.ts'), 'utf8');
  if (!config.includes(`name: '${project}'`)) throw new Error(`vitest has no project ${project}`);
  checkPaths(args.filter((arg) => arg.includes('/')));
}

function checkPaths(paths: readonly string[]): void {
  for (const path of paths) {
    if (!existsSync(join(ROOT, path))) throw new Error(`${path} does not exist`);
  }
}
