import { LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { RELEASE } from '../../controller/volumes/lost-node-volumes.ts';
import { Fault, isFault } from '../../core/fault.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import {
  checkRelease,
  describeLostNode,
  planAfterRelease,
  type ReleaseCandidate,
  type ReleaseSubject,
} from '../../core/claims/volume-release.ts';
import type { KubeClient } from '../../kube/client.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { type ReleaseFacts, readLostNode, readReleaseFacts } from './release-facts.ts';
import { parseSubject } from './subject.ts';
import { type ClusterVerb, notSeen, writeAnswer } from './verb.ts';

const usage = 'release node/NAME|volume/NAME';

const KINDS: Readonly<Record<string, ReleaseSubject['kind']>> = {
  node: 'node',
  nodes: 'node',
  no: 'node',
  volume: 'volume',
  localvolume: 'volume',
  localvolumes: 'volume',
  lvol: 'volume',
};

export const releaseVerb: ClusterVerb = {
  usage,
  summary: 'gives up the volumes of a node that is lost for good: asks first, and refuses while it is Ready',
  asks: true,
  async run(context) {
    const { words, client, reader, isSure, ask } = context;
    const subject = parseSubject(words, KINDS, {
      forms: ['node/NAME', 'volume/NAME'],
      usage: `kubectl keelson ${usage} [--yes]`,
    });
    const facts = await readReleaseFacts(subject, { client, reader });
    checkRelease(subject, facts.node);
    const news = facts.volumes.filter(({ isReleased }) => !isReleased);
    if (news.length > 0 && !isSure) {
      const typed = await ask(
        `${renderCandidates(facts)}\ntype the name of the ${subject.kind} to give up ${counted(news)} for good: `,
      );
      if (typed !== subject.name) throw notConfirmed(typed, subject);
      // It may have come back while the question stood.
      checkRelease(subject, await readLostNode(facts.node.name, client));
    }
    for (const volume of news) await release(volume, client);
    const volumes = facts.volumes.map((volume) => ({ ...volume, next: planAfterRelease(volume) }));
    const { hidden } = reader;
    writeAnswer(
      context,
      { node: facts.node, volumes, hidden },
      () => (isSure ? `${renderCandidates(facts)}\n` : '') + renderAfter(facts) + notSeen(hidden),
    );
    return 0;
  },
};

/** Says it of this very object. What is gone by now needs no word. */
async function release({ name, uid }: ReleaseCandidate, client: Pick<KubeClient, 'patch'>): Promise<void> {
  const merge = { metadata: { annotations: { [RELEASE]: uid } } };
  try {
    await client.patch(LOCAL_VOLUMES, { name }, { merge, precondition: { uid } });
  } catch (error) {
    if (!isFault(error, 'not-found')) throw error;
  }
}

function notConfirmed(typed: string, { name }: ReleaseSubject): Fault {
  const what = typed === '' ? 'nothing' : JSON.stringify(typed);
  return new Fault(
    'precondition',
    `${what} was typed, ${name} was asked for: nothing is given up (--yes asks no question)`,
  );
}

/** What will be given up, as a person reads it before saying so. */
export function renderCandidates({ node, volumes }: ReleaseFacts): string {
  const rows = volumes.map(({ name, type, sizeBytes, owners, snapshot, isReleased }) => {
    const claims = [...owners.flatMap(({ claim }) => claim ?? []), ...(snapshot ? [snapshot] : [])];
    return [
      claims.map((each) => `${each.namespace}/${each.name}`).join(',') || '-',
      type === 'Snapshot' ? 'snapshot' : 'volume',
      formatBytes(sizeBytes),
      owners.map(({ reclaimPolicy }) => reclaimPolicy).join(',') || '-',
      owners.flatMap(({ pods }) => pods).join(',') || '-',
      isReleased ? `${name} (given up already)` : name,
    ];
  });
  return `${describeLostNode(node)}; on it ${volumes.length === 1 ? 'is' : 'are'}:\n\n${renderTable(['CLAIM', 'KIND', 'SIZE', 'RECLAIM', 'PODS', 'LOCALVOLUME'], rows)}`;
}

/** What has become of it, and what is left to do. */
export function renderAfter({ node: { name }, volumes }: ReleaseFacts): string {
  const commands = volumes.flatMap(planAfterRelease);
  const byThemselves = volumes.filter((volume) => planAfterRelease(volume).length === 0);
  return [
    `${counted(volumes)} of node ${name} ${volumes.length === 1 ? 'is' : 'are'} given up: deleting no longer waits for the node.`,
    ...(byThemselves.length === 0
      ? []
      : [
          `Nobody has ${byThemselves.map((volume) => volume.name).join(', ')}: what the API holds of it goes now.`,
        ]),
    ...(commands.length === 0
      ? []
      : [
          'To get empty volumes elsewhere (a StatefulSet makes claims and pods anew; make the others again):',
          '',
          ...commands.map((command) => `  ${command}`),
          '',
        ]),
    `The disk of ${name} is not touched. Should the node be Ready before its claims are deleted, it serves them again; should it return later, "kubectl keelson nodes" says what is left on it.`,
    '',
  ].join('\n');
}

function counted(volumes: readonly ReleaseCandidate[]): string {
  const snapshots = volumes.filter(({ type }) => type === 'Snapshot').length;
  const count = (number: number, what: string): readonly string[] =>
    number === 0 ? [] : [`${number} ${what}${number === 1 ? '' : 's'}`];
  return [...count(volumes.length - snapshots, 'volume'), ...count(snapshots, 'snapshot')].join(' and ');
}
