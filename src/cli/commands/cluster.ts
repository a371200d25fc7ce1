import { homedir } from 'node:os';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { findCluster } from '../../kube/cluster-access.ts';
import { HttpKubeClient } from '../../kube/http-client.ts';
import { VERSION } from '../../version.ts';
import { SubjectArgument } from '../completion/subject-argument.ts';
import type { CliContext } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { ClusterReader } from '../kubectl/cluster-reader.ts';
import { doctorVerb } from '../kubectl/doctor-verb.ts';
import { nodesVerb } from '../kubectl/nodes-verb.ts';
import { releaseVerb } from '../kubectl/release-verb.ts';
import { statusVerb } from '../kubectl/status-verb.ts';
import { parseSubject } from '../kubectl/subject.ts';
import type { ClusterVerb } from '../kubectl/verb.ts';
import { volumesVerb } from '../kubectl/volumes-verb.ts';
import { whyVerb } from '../kubectl/why-verb.ts';
import { outputOption, type OutputFormat } from '../output/output.ts';
import { promptLine } from '../prompt.ts';

const VERBS: Readonly<Record<string, ClusterVerb>> = {
  status: statusVerb,
  volumes: volumesVerb,
  nodes: nodesVerb,
  why: whyVerb,
  doctor: doctorVerb,
  release: releaseVerb,
};

interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly systemNamespace: string;
  readonly output: OutputFormat;
  readonly yes?: boolean;
}

/** Creates `keelson cluster`, which is also `kubectl keelson`. */
export function clusterCommand(context: CliContext): CommandUnknownOpts {
  const command: CommandUnknownOpts = new Command()
    .description('Inspects Keelson in a cluster through its API server. All verbs but release only read.')
    .option('--kubeconfig <file>', 'kubeconfig (default: as kubectl)')
    .option('--context <name>', 'context of the kubeconfig')
    .option('-n, --namespace <name>', "namespace of the object (default: the context's)")
    .option('--system-namespace <name>', 'namespace of Keelson', 'keelson-system')
    .addOption(outputOption());
  for (const [name, verb] of Object.entries(VERBS)) command.addCommand(verbCommand(name, verb, context));
  return command;
}

function verbCommand(name: string, verb: ClusterVerb, context: CliContext): CommandUnknownOpts {
  const command: CommandUnknownOpts = new Command(name).summary(verb.summary).description(verb.description);
  const { kinds } = verb;
  if (kinds !== undefined) {
    const forms = kinds.map(({ names: [shown] }) => `${shown}/NAME`).join(' or ');
    command.addArgument(new SubjectArgument(`${forms}; also KIND NAME`, kinds, context));
  }
  if (verb.confirms) command.option('-y, --yes', 'do not prompt for confirmation', false);
  if (verb.examples !== undefined) {
    const lines = verb.examples.map((example) => `  kubectl keelson ${example}`);
    command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
  }
  command.action(async () => {
    const options = command.optsWithGlobals() as unknown as ClusterOptions;
    if (!(await runVerb(verb, command.args, options, context))) context.exitCode = EXIT.failed;
  });
  return command;
}

async function runVerb(
  verb: ClusterVerb,
  args: readonly string[],
  options: ClusterOptions,
  { env, signal, stdin, stdout, stderr }: CliContext,
): Promise<boolean> {
  const { kubeconfig, context, namespace, systemNamespace, output, yes = false } = options;
  // An invalid argument is reported without a cluster.
  if (verb.kinds !== undefined) parseSubject(args, verb.kinds);
  const access = await findCluster({ env, homeDirectory: homedir(), kubeconfig, context });
  const userAgent = `kubectl-keelson/${VERSION}`;
  using client = new HttpKubeClient({ access, userAgent, qps: 100, burst: 200 });
  return await verb.run({
    args,
    output,
    namespace: namespace ?? access.namespace,
    givenNamespace: namespace,
    systemNamespace,
    client,
    reader: new ClusterReader({ client, signal }),
    nowMs: Date.now(),
    write: (text) => void stdout.write(text),
    assumeYes: yes,
    prompt: async (question) => await promptLine(question, { stdin, stderr }, signal),
  });
}
