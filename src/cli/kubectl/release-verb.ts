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
import { NODES } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { type ReleaseFacts, readLostNode, readReleaseFacts } from './release-facts.ts';
import { parseSubject, type SubjectKind } from './subject.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

const KINDS: readonly SubjectKind<ReleaseSubject['kind']>[] = [
  { kind: 'node', names: ['node', 'nodes', 'no'], resource: NODES },
  {
    kind: 'volume',
    names: ['volume', 'localvolume', 'localvolumes', 'lvol'],
    resource: LOCAL_VOLUMES,
  },
];

export const releaseVerb: ClusterVerb = {
  summary: 'Release the volumes of a permanently lost node',
  description:
    'Releases all volumes of a permanently lost node, or one volume: their claims can then be deleted without ' +
    'the node. Prompts for confirmation, and refuses while the node is Ready. Changes no disk.',
  kinds: KINDS,
  confirms: true,
  examples: ['release node/node-2', 'release volume/pvc-29ea081f-1e29-4d08-89cc-13c6e4ebf474 --yes'],
  async run(context) {
    const { args, client, reader, assumeYes, prompt } = context;
    const subject = parseSubject(args, KINDS);
    const facts = await readReleaseFacts(subject, { client, reader });
    checkRelease(subject, facts.node);
    const pending = facts.volumes.filter(({ isReleased }) => !isReleased);
    if (pending.length > 0 && !assumeYes) {
      const typed = await prompt(
        `${renderCandidates(facts)}\ntype the name of the ${subject.kind} to release ${counted(pending)}: `,
      );
      if (typed !== subject.name) throw notConfirmed(typed, subject);
      // The node may have become Ready during the prompt.
      checkRelease(subject, await readLostNode(facts.node.name, client));
    }
    for (const volume of pending) await release(volume, client);
    const volumes = facts.volumes.map((volume) => ({ ...volume, next: planAfterRelease(volume) }));
    const { hidden } = reader;
    writeOutput(
      context,
      { node: facts.node, volumes, hidden },
      () => (assumeYes ? `${renderCandidates(facts)}\n` : '') + renderAfter(facts) + renderHidden(hidden),
    );
    return true;
  },
};

/** Annotates the object of this UID only; a LocalVolume deleted meanwhile needs no release. */
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
    `not confirmed: typed ${what}, expected ${name}; nothing is released (--yes skips the prompt)`,
  );
}

/** Returns the node and the volumes that a release affects, for the prompt. */
function renderCandidates({ node, volumes }: ReleaseFacts): string {
  const rows = volumes.map(({ name, type, sizeBytes, owners, snapshot, isReleased }) => {
    const claims = [...owners.flatMap(({ claim }) => claim ?? []), ...(snapshot ? [snapshot] : [])];
    return [
      claims.map((each) => `${each.namespace}/${each.name}`).join(',') || '-',
      type === 'Snapshot' ? 'snapshot' : 'volume',
      formatBytes(sizeBytes),
      owners.map(({ reclaimPolicy }) => reclaimPolicy).join(',') || '-',
      owners.flatMap(({ pods }) => pods).join(',') || '-',
      isReleased ? `${name} (already released)` : name,
    ];
  });
  const header = ['CLAIM', 'KIND', 'SIZE', 'RECLAIM', 'PODS', 'LOCALVOLUME'];
  return `${describeLostNode(node)}; its volumes:\n\n${renderTable(header, rows)}`;
}

/** Returns the result of a release and the commands that remain. */
function renderAfter({ node: { name }, volumes }: ReleaseFacts): string {
  const commands = volumes.flatMap(planAfterRelease);
  const unclaimed = volumes.filter((volume) => planAfterRelease(volume).length === 0);
  return [
    `released ${counted(volumes)} of node ${name}: deletion no longer waits for the node`,
    ...(unclaimed.length === 0
      ? []
      : [
          `without a claim or a snapshot, so the controller deletes the objects: ${unclaimed.map((volume) => volume.name).join(', ')}`,
        ]),
    ...(commands.length === 0
      ? []
      : [
          'to get empty volumes on other nodes (a StatefulSet re-creates claims and pods; re-create others yourself):',
          '',
          ...commands.map((command) => `  ${command}`),
          '',
        ]),
    `The disk of ${name} is unchanged. If the node becomes Ready before its claims are deleted, the release is undone;`,
    'if it returns later, "kubectl keelson nodes" lists the volumes left on its disk.',
    '',
  ].join('\n');
}

function counted(volumes: readonly ReleaseCandidate[]): string {
  const snapshots = volumes.filter(({ type }) => type === 'Snapshot').length;
  const count = (number: number, what: string): readonly string[] =>
    number === 0 ? [] : [`${number} ${what}${number === 1 ? '' : 's'}`];
  return [...count(volumes.length - snapshots, 'volume'), ...count(snapshots, 'snapshot')].join(' and ');
}
