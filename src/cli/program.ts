import { Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import type { CliContext } from './context.ts';
import { EXIT, EXIT_CODES } from './exit-codes.ts';

/** First argument that `bin/kubectl-keelson` adds: the program is the kubectl plugin. */
export const PLUGIN = 'kubectl-plugin';

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<(context: CliContext) => CommandUnknownOpts>;
}

/** Commands in the order of help. Only the code of the one that runs is loaded. */
const COMMANDS: Readonly<Record<string, Entry>> = {
  agent: {
    summary: 'Run the agent of this node: CSI, pod network, kubelet plugin registration',
    load: async () => (await import('./commands/agent.ts')).agentCommand,
  },
  controller: {
    summary: 'Run the controller: provision volumes for claims, publish storage capacity',
    load: async () => (await import('./commands/controller.ts')).controllerCommand,
  },
  'cri-proxy': {
    summary: 'Run the CRI proxy between kubelet and the container runtime',
    load: async () => (await import('./commands/cri-proxy.ts')).criProxyCommand,
  },
  status: {
    summary: 'Show the pools, volumes and pod addresses of this node',
    load: async () => (await import('./commands/status.ts')).statusCommand,
  },
  volume: {
    summary: 'Export, import or delete a volume of this node',
    load: async () => (await import('./commands/volume.ts')).volumeCommand,
  },
  doctor: {
    summary: 'Check this machine and its agent; exit code 1 if a check fails',
    load: async () => (await import('./commands/doctor.ts')).doctorCommand,
  },
  cluster: {
    summary: 'Inspect a cluster; also kubectl keelson',
    load: async () => (await import('./commands/cluster.ts')).clusterCommand,
  },
  'cni-config': {
    summary: 'Print the CNI network configuration for /etc/cni/net.d',
    load: async () => (await import('./commands/cni-config.ts')).cniConfigCommand,
  },
  'install-cni': {
    summary: 'Install the keelson-cni binary and its configuration on this host',
    load: async () => (await import('./commands/install-cni.ts')).installCniCommand,
  },
  'install-host': {
    summary: 'Install this release and its systemd units on a host',
    load: async () => (await import('./commands/install-host.ts')).installHostCommand,
  },
  'uninstall-node': {
    summary: 'Remove what the agent installed on this node; its volumes with --delete-data',
    load: async () => (await import('./commands/uninstall-node.ts')).uninstallNodeCommand,
  },
  demo: {
    summary: 'Run a pod with a volume, a network and a policy on a temporary node',
    load: async () => (await import('./commands/demo.ts')).demoCommand,
  },
  completion: {
    summary: 'Print the completion script for bash, zsh or fish',
    load: async () => (await import('./commands/completion.ts')).completionCommand,
  },
  version: {
    summary: 'Print the version of Keelson, of Node and of the served interfaces',
    load: async () => (await import('./commands/version.ts')).versionCommand,
  },
};

/** A command line that commander rejected, or help that it printed. */
export class CommandLineError extends Error {
  readonly reason: CommanderError;
  /** E.g. `keelson volume export`. */
  readonly path: string;

  constructor(reason: CommanderError, path: string) {
    super(reason.message, { cause: reason });
    this.reason = reason;
    this.path = path;
  }
}

/**
 * Creates the program for `args`; commands that `args` does not name are listed without their code.
 */
export async function createProgram(
  args: readonly string[],
  context: CliContext,
): Promise<CommandUnknownOpts> {
  if (args[0] === PLUGIN) {
    const { load } = COMMANDS['cluster'] ?? {};
    const plugin = (await load?.())?.(context) ?? new Command();
    return configure(plugin.name('kubectl keelson'), context);
  }
  const named = args.find((arg) => !arg.startsWith('-') && arg !== 'help');
  const program: CommandUnknownOpts = new Command('keelson')
    .description('Gives a Kubernetes node its storage, its pod network and its runtime policy.')
    .addHelpText('after', exitCodeHelp());
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command: CommandUnknownOpts = name === named ? (await load())(context) : new Command();
    if (command.description() === '') command.description(`${summary}.`);
    program.addCommand(command.name(name).summary(summary));
  }
  return configure(program, context);
}

/** commander inherits these settings only into subcommands that it creates itself. */
function configure(command: CommandUnknownOpts, context: CliContext): CommandUnknownOpts {
  command
    .configureHelp({ showGlobalOptions: true })
    .helpOption('-h, --help', 'show help')
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text),
      // run.ts prints errors.
      outputError: () => undefined,
    })
    .exitOverride((error) => {
      throw new CommandLineError(error, pathOf(command));
    });
  if (command.commands.length > 0) command.helpCommand('help [command]', 'show help for a command');
  for (const child of command.commands) configure(child, context);
  return command;
}

/**
 * Returns the command below `program` that `names` lead to; commander's own help command takes one
 * name. Throws CommandLineError for an unknown one.
 */
export function findCommand(program: CommandUnknownOpts, names: readonly string[]): CommandUnknownOpts {
  return names.reduce((parent, name) => {
    const child = parent.commands.find((command) => command.name() === name);
    if (child !== undefined) return child;
    const reason = new CommanderError(EXIT.usage, 'commander.unknownCommand', `unknown command '${name}'`);
    throw new CommandLineError(reason, pathOf(parent));
  }, program);
}

function pathOf(command: CommandUnknownOpts): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function exitCodeHelp(): string {
  const lines = EXIT_CODES.map(({ code, meaning }) => `  ${String(code).padEnd(5)}${meaning}`);
  return `\nExit codes:\n${lines.join('\n')}`;
}
