import { readPicture } from './claim-facts.ts';
import { renderExplanation } from './explanation-text.ts';
import { type ClusterVerb, writeAnswer } from './verb.ts';
import { explain, parseWhySubject } from './why.ts';

const usage = 'why pvc/NAME|pod/NAME';

export const whyVerb: ClusterVerb = {
  usage,
  summary: 'why a claim is not bound or a pod does not run, and what to do; exit code 1 when it is stuck',
  async run(context) {
    const { words, namespace, systemNamespace, client, reader, nowMs } = context;
    const subject = parseWhySubject(words, `kubectl keelson ${usage} [-n NAMESPACE]`);
    const picture = await readPicture({ namespace, systemNamespace, nowMs }, { client, reader });
    const explanation = await explain(picture, namespace, subject);
    const { hidden } = reader;
    writeAnswer(context, { ...explanation, hidden }, () => renderExplanation(explanation, hidden));
    return explanation.verdict === 'stuck' ? 1 : 0;
  },
};
