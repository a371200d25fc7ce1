/** A real Kubernetes cluster on this machine: `node test/cluster/main.ts help`. */
import { parseArgs } from 'node:util';
import { Fault, isFault } from '../../src/core/fault.ts';
import { Cluster } from './cluster.ts';
import { COMMANDS, parseUpFlags } from './commands.ts';
import { acquireLock } from './lock.ts';

const HELP = `node test/cluster/main.ts [--name NAME] [--directory DIR] COMMAND

  up [--nodes N] [--cni keelson|bridge|none] [--no-proxy] [--containerd debian|latest] [--controller-qps N]
     [--controller] [--pool-size SIZE] [--keelson processes|shipped] [--durable] [--kubelet-features NAME,...]
                             all of it, until every node is Ready; goes on where an earlier run ended
  down                       removes all of it, and proves that nothing is left
  status                     what runs
  kubeconfig                 path of the file for kubectl
  kubectl ARG...             the kubectl of the cluster's version
  load ARCHIVE               imports an image archive on every node
  shell MACHINE [COMMAND]    a shell on a node, or on control-plane
  add-node NAME, remove-node NAME
  stop-node NAME             a power cut: all its processes end at once, its disk stays
  start-node NAME            and its return
  delete-node NAME           from Kubernetes alone: its kubelet goes on
  cut-link NAME, restore-link NAME
  restart-kubelet NAME, restart-containerd NAME
  api-down SECONDS           without an API server for so long

--name (default "default") keeps clusters apart; --directory (default ~/.cache/keelson/cluster) is where they are.
`;

/** These change nothing, and so can be used while another command is at work. */
const READERS = ['status', 'kubeconfig', 'kubectl', 'shell'];
/** These hand all that follows them to another program. */
const WRAPPERS = ['kubectl', 'shell'];

async function main(argv: readonly string[]): Promise<number> {
  const wrapper = argv.findIndex((arg) => WRAPPERS.includes(arg));
  const end = wrapper < 0 ? argv.length : wrapper + 1;
  const { values, positionals } = parseArgs({
    args: argv.slice(0, end),
    allowPositionals: true,
    allowNegative: true,
    options: {
      name: { type: 'string', default: 'default' },
      directory: { type: 'string' },
      nodes: { type: 'string' },
      cni: { type: 'string' },
      proxy: { type: 'boolean' },
      containerd: { type: 'string' },
      'controller-qps': { type: 'string' },
      controller: { type: 'boolean' },
      'pool-size': { type: 'string' },
      durable: { type: 'boolean' },
      'kubelet-features': { type: 'string' },
      keelson: { type: 'string' },
    },
  });
  const [name = 'help', ...args] = positionals;
  if (name === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const command = COMMANDS[name];
  if (command === undefined) throw new Fault('invalid', `there is no command ${name}; 'help' lists them`);
  if (process.getuid?.() !== 0)
    throw new Fault('denied', 'a cluster needs root: it makes namespaces and mounts');
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => stop.abort(new DOMException(`received ${signal}`, 'AbortError')));
  }
  const startedMs = performance.now();
  const report = (text: string): void => {
    process.stderr.write(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);
  };
  const cluster = new Cluster({ name: values.name, baseDirectory: values.directory }, { report });
  await using _lock = READERS.includes(name) ? undefined : await acquireLock(`${cluster.directory}.lock`);
  const context = {
    cluster,
    args: [...args, ...argv.slice(end)],
    up: parseUpFlags(values),
    signal: stop.signal,
  };
  return (await command(context)) ?? 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const fault = Fault.from(error);
  const text = isFault(error) ? fault.message : error instanceof Error ? (error.stack ?? error.message) : '';
  process.stderr.write(`cluster: ${text}\n`);
  process.exitCode = 1;
}
