import { homedir } from 'node:os';
import { Fault } from '../../core/fault.ts';
import { findCluster } from '../../kube/cluster-access.ts';
import { HttpKubeClient } from '../../kube/http-client.ts';
import { askLine } from '../ask.ts';
import { ClusterReader } from '../kubectl/cluster-reader.ts';
import { doctorVerb } from '../kubectl/doctor-verb.ts';
import { nodesVerb } from '../kubectl/nodes-verb.ts';
import { releaseVerb } from '../kubectl/release-verb.ts';
import { statusVerb } from '../kubectl/status-verb.ts';
import { OUTPUTS, type ClusterVerb } from '../kubectl/verb.ts';
import { volumesVerb } from '../kubectl/volumes-verb.ts';
import { whyVerb } from '../kubectl/why-verb.ts';
import { type Command, parseWords } from '../command.ts';
import { VERSION } from '../../version.ts';

const VERBS: Readonly<Record<string, ClusterVerb>> = {
  status: statusVerb,
  volumes: volumesVerb,
  nodes: nodesVerb,
  why: whyVerb,
  doctor: doctorVerb,
  release: releaseVerb,
};

const usage = `kubectl keelson ${Object.keys(VERBS).join('|')} [--kubeconfig FILE] [--context NAME] [-n NAMESPACE] [--system-namespace NAME] [-o text|wide|json|yaml] [--yes]`;

/** `keelson cluster VERB`, which is `kubectl keelson VERB`: a whole cluster as its API server knows it. */
export const clusterCommand: Command = {
  summary: `a whole cluster (kubectl keelson): ${Object.keys(VERBS).join(', ')}`,
  usage: [usage, ...Object.values(VERBS).map((verb) => `  ${verb.usage.padEnd(27)}${verb.summary}`)].join(
    '\n',
  ),
  async run({ args, env, signal, stdin, stdout, stderr }) {
    const { flags, words } = parseWords(
      args,
      {
        kubeconfig: { type: 'string' },
        context: { type: 'string' },
        namespace: { type: 'string', short: 'n' },
        'system-namespace': { type: 'string', default: 'keelson-system' },
        output: { type: 'string', short: 'o', default: 'text' },
        yes: { type: 'boolean', short: 'y', default: false },
      },
      this.usage,
    );
    const [name = '', ...rest] = words;
    const verb = VERBS[name];
    if (verb === undefined) {
      throw new Fault(
        'invalid',
        `${name === '' ? 'a verb is missing' : `there is no verb ${name}`}\nusage: ${this.usage}`,
      );
    }
    if (flags.yes && verb.asks !== true) {
      throw new Fault('invalid', `--yes is for verbs that ask, and ${name} does not`);
    }
    const output = OUTPUTS.find((each) => each === flags.output);
    if (output === undefined) {
      throw new Fault('invalid', `-o ${flags.output}: the output is one of ${OUTPUTS.join(', ')}`);
    }
    const { kubeconfig, context } = flags;
    const access = await findCluster({ env, homeDirectory: homedir(), kubeconfig, context });
    using client = new HttpKubeClient({
      access,
      userAgent: `kubectl-keelson/${VERSION}`,
      qps: 100,
      burst: 200,
    });
    return await verb.run({
      words: rest,
      output,
      namespace: flags.namespace ?? access.namespace,
      givenNamespace: flags.namespace,
      systemNamespace: flags['system-namespace'],
      client,
      reader: new ClusterReader({ client, signal }),
      nowMs: Date.now(),
      write: (text) => void stdout.write(text),
      isSure: flags.yes,
      ask: async (question) => await askLine(question, { stdin, stderr }, signal),
    });
  },
};
