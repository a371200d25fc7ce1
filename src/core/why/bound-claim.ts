import { describeClaim } from '../claims/provision.ts';
import { choosePool, describeFreeSpace } from '../claims/provision-placement.ts';
import { formatBytes, parseQuantity } from '../kube-text/quantity.ts';
import type { ClaimFacts } from './claim-facts.ts';
import { type Explanation, NOTHING_MORE } from './explanation.ts';
import { lacksForAny } from './node-fit.ts';

/** Explains a claim that has its volume. */
export function explainBound(facts: ClaimFacts): Explanation {
  const { state, owner } = facts;
  const subject = describeClaim(state.claim);
  if (owner !== undefined && !owner.isOurs) {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'well',
      reason: 'Bound',
      summary: `it is bound to PersistentVolume ${owner.name}, which does not belong to Keelson`,
    };
  }
  const loss = explainLoss(facts);
  if (loss !== undefined) return loss;
  const resize = explainResize(facts);
  if (resize !== undefined) return resize;
  if (state.volume === undefined && facts.blind.size > 0) {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'well',
      reason: 'Bound',
      summary: `it is bound to PersistentVolume ${state.claim.volumeName}; you have no permission to read more`,
      notes: facts.conditions,
    };
  }
  return explainNode(facts);
}

const nodeNameOf = ({ state, owner }: ClaimFacts): string | undefined =>
  state.volume?.nodeName ?? owner?.nodeName;

function stuck(facts: ClaimFacts, reason: string, summary: string, ...advice: string[]): Explanation {
  const subject = describeClaim(facts.state.claim);
  return { ...NOTHING_MORE, subject, verdict: 'stuck', reason, summary, notes: facts.conditions, advice };
}

/** A claim whose PersistentVolume, data or node is lost. */
function explainLoss(facts: ClaimFacts): Explanation | undefined {
  const { state, owner, volume } = facts;
  const nodeName = nodeNameOf(facts);
  const node = facts.nodes.find(({ name }) => name === nodeName);
  if (owner?.isDeleting === true) {
    return stuck(
      facts,
      'OwnerDeleting',
      `its PersistentVolume ${owner.name} is being deleted, and will be deleted with the claim; with reclaim policy Delete, so will the data`,
      `to keep the data: kubectl patch pv ${owner.name} -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`,
    );
  }
  if (owner !== undefined && volume === undefined && !facts.blind.has('volumes')) {
    return stuck(
      facts,
      'NoVolume',
      `its PersistentVolume ${owner.name} has no LocalVolume, so Keelson does not know its data`,
      `run "keelson status" on ${nodeName ?? 'its node'} to see whether the volume exists`,
    );
  }
  if (state.volume?.phase === 'Lost') {
    return stuck(
      facts,
      'VolumeLost',
      `node ${nodeName ?? ''} lost its data: ${state.volume.message || 'reason unknown'}`,
      'restore the disk, or delete the claim and restore the data from a snapshot or backup',
    );
  }
  if (node === undefined && nodeName !== undefined && !facts.blind.has('nodes')) {
    return stuck(
      facts,
      'NodeLost',
      `its volume is on node ${nodeName ?? ''}, which no longer exists; the data is untouched`,
      'bring the node back under the same name with its disks',
      'if it never returns: delete the claim and its pod, and restore the data from a snapshot or backup',
    );
  }
  return undefined;
}

/** A claim whose volume exists: the state of its node. */
function explainNode(facts: ClaimFacts): Explanation {
  const { state } = facts;
  const nodeName = nodeNameOf(facts);
  const node = facts.nodes.find(({ name }) => name === nodeName);
  const size = facts.grantedBytes === undefined ? '' : ` of ${formatBytes(facts.grantedBytes)}`;
  const where = `a volume${size} in pool ${state.volume?.poolName ?? ''} on node ${nodeName ?? ''}`;
  if (node?.notReady !== undefined) {
    return stuck(
      facts,
      'NodeNotReady',
      `it is bound to ${where}, but that node is not Ready: ${node.notReady}`,
      `check kubelet on ${node.name}, or bring the machine back; the data is untouched`,
    );
  }
  if (node?.agent.state === 'does-not-serve') {
    return stuck(
      facts,
      'AgentNotReady',
      `it is bound to ${where}, but the agent of that node is not serving: ${node.agent.message ?? 'reason unknown'}`,
      `check the agent's log on ${node.name}`,
    );
  }
  const away = node === undefined ? [] : lacksForAny(node);
  return {
    ...NOTHING_MORE,
    subject: describeClaim(state.claim),
    verdict: 'well',
    reason: 'Bound',
    summary: `it is bound to ${where}${facts.pods.length === 0 ? '; no pod uses it' : ''}`,
    notes: [
      ...away.map(
        ({ text }) => `node ${node?.name ?? ''}: ${text}, so a pod that uses the claim cannot be restarted`,
      ),
      ...facts.conditions,
    ],
    advice: facts.pods
      .filter(({ phase }) => phase === 'Pending')
      .map(({ namespace, name }) => `kubectl keelson why pod/${name} -n ${namespace}`),
  };
}

/** A claim that requests more than it has. */
function explainResize(facts: ClaimFacts): Explanation | undefined {
  const { state, grantedBytes, storageClass, conditions, nodes } = facts;
  const { claim, volume } = state;
  const wanted = parseQuantity(claim.request, `${describeClaim(claim)}: spec.resources.requests.storage`);
  if (grantedBytes === undefined || wanted <= grantedBytes) return undefined;
  const more = `it has ${formatBytes(grantedBytes)} and requests ${formatBytes(wanted)}`;
  const explain = (
    verdict: 'waits' | 'stuck',
    reason: string,
    summary: string,
    advice: readonly string[],
  ): Explanation => ({
    ...NOTHING_MORE,
    subject: describeClaim(claim),
    verdict,
    reason,
    summary: `${more}: ${summary}`,
    notes: conditions,
    advice,
  });
  if (storageClass?.canExpand !== true) {
    return explain(
      'stuck',
      'ClassForbidsExpansion',
      `StorageClass ${claim.className} does not allow expansion`,
      [`kubectl patch storageclass ${claim.className} -p '{"allowVolumeExpansion":true}'`],
    );
  }
  const node = nodes.find(({ name }) => name === volume?.nodeName);
  const pool = node && choosePool(node.view, { pool: volume?.poolName });
  const missing = wanted - grantedBytes;
  if (node !== undefined && (pool === undefined || pool.freeBytes < missing)) {
    return explain(
      'stuck',
      'InsufficientCapacity',
      `${describeFreeSpace(node.view, { pool: volume?.poolName })} on node ${node.name}`,
      ['request less (down to what it has), delete unused volumes of the pool, or enlarge the pool'],
    );
  }
  return explain('waits', 'Expanding', volume?.message || 'it is being expanded', []);
}
