import { readClusterSnapshot } from './claim-facts.ts';
import { renderExplanation } from './explanation-text.ts';
import { parseSubject } from './subject.ts';
import { type ClusterVerb, writeOutput } from './verb.ts';
import { explain, WHY_KINDS } from './why.ts';

export const whyVerb: ClusterVerb = {
  summary: 'Explain why a claim is not bound or a pod does not run',
  description:
    'Explains why a claim is not bound or a pod does not run: the main reason, what each node lacks, and the ' +
    'remedy. Exit code 1 if the claim or pod is stuck.',
  kinds: WHY_KINDS,
  examples: ['why pvc/data', 'why pod/web -n team-a -o json'],
  async run(context) {
    const { args, namespace, systemNamespace, client, reader, nowMs } = context;
    const subject = parseSubject(args, WHY_KINDS);
    const snapshot = await readClusterSnapshot({ namespace, systemNamespace, nowMs }, { client, reader });
    const explanation = await explain(snapshot, namespace, subject);
    const { hidden } = reader;
    writeOutput(context, { ...explanation, hidden }, () => renderExplanation(explanation, hidden));
    return explanation.verdict !== 'stuck';
  },
};
