import { Fault } from '../core/fault.ts';
import type { Command, CommandContext } from './command.ts';

/** Each command's code is loaded when it is asked for, so that a short one starts quickly. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  agent: async () => (await import('./commands/agent.ts')).agentCommand,
  controller: async () => (await import('./commands/controller.ts')).controllerCommand,
  'cri-proxy': async () => (await import('./commands/cri-proxy.ts')).criProxyCommand,
  'cni-config': async () => (await import('./commands/cni-config.ts')).cniConfigCommand,
  'install-cni': async () => (await import('./commands/install-cni.ts')).installCniCommand,
  'install-host': async () => (await import('./commands/install-host.ts')).installHostCommand,
  'uninstall-node': async () => (await import('./commands/uninstall-node.ts')).uninstallNodeCommand,
  status: async () => (await import('./commands/status.ts')).statusCommand,
  volume: async () => (await import('./commands/volume.ts')).volumeCommand,
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand,
  cluster: async () => (await import('./commands/cluster.ts')).clusterCommand,
  demo: async () => (await import('./commands/demo.ts')).demoCommand,
  version: async () => (await import('./commands/version.ts')).versionCommand,
};

/** sysexits(3): the command line or a configuration is wrong. */
const EX_USAGE = 64;
const EX_FAILED = 1;
/** 128 + SIGINT, as a shell reports it. */
const EX_INTERRUPTED = 130;

async function main(): Promise<number> {
  const [name = 'help', ...args] = process.argv.slice(2);
  if (name === 'help' || name === '--help' || name === '-h') return await help();
  const load = COMMANDS[name];
  if (load === undefined) {
    process.stderr.write(`keelson: there is no command ${name}; 'keelson help' lists them\n`);
    return EX_USAGE;
  }
  const stop = new AbortController();
  const context: CommandContext = {
    args,
    env: process.env,
    signal: stop.signal,
    get stdin() {
      return process.stdin;
    },
    stdout: process.stdout,
    stderr: process.stderr,
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => stop.abort(new DOMException(`received ${signal}`, 'AbortError')));
  }
  const command = await load();
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${command.summary}\nusage: ${command.usage}\n`);
    return 0;
  }
  return await command.run(context);
}

async function help(): Promise<number> {
  const lines = await Promise.all(
    Object.entries(COMMANDS).map(async ([name, load]) => `  ${name.padEnd(16)}${(await load()).summary}`),
  );
  process.stdout.write(
    `keelson gives a Kubernetes node its storage, its pod network and its runtime policy.\n\n${lines.join('\n')}\n\n` +
      `'keelson COMMAND --help' says how a command is used.\n`,
  );
  return 0;
}

process.on('unhandledRejection', (reason) => {
  process.stderr.write(
    `keelson: a promise was left alone and failed: ${reason instanceof Error ? (reason.stack ?? '') : String(reason)}\n`,
  );
  process.exit(EX_FAILED);
});

try {
  process.exitCode = await main();
} catch (error) {
  const fault = Fault.from(error);
  if (fault.kind === 'cancelled') {
    process.exitCode = EX_INTERRUPTED;
  } else {
    process.stderr.write(
      `keelson: ${fault.kind === 'bug' && error instanceof Error ? (error.stack ?? error.message) : fault.message}\n`,
    );
    process.exitCode = fault.kind === 'invalid' ? EX_USAGE : EX_FAILED;
  }
}
