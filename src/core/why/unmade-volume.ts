import { type Answer, PATIENCE_SECONDS } from './answer.ts';
import type { ClaimFacts } from './claim-facts.ts';
import type { Lack } from './explanation.ts';
import type { NodeFacts } from './facts.ts';
import { lacksForAny } from './node-fit.ts';

/** Explains a claim whose LocalVolume exists: its node's agent has to act. */
export function explainAgent({ state: { volume }, volume: found, nodes }: ClaimFacts): Answer {
  const nodeName = volume?.nodeName ?? '';
  const node = nodes.find(({ name }) => name === nodeName);
  const where = `in pool ${volume?.poolName ?? ''} on node ${nodeName}`;
  if (volume?.isDeleting === true) {
    return {
      verdict: 'waits',
      reason: 'CleaningUp',
      summary: `an earlier volume of it ${where} is being removed first`,
      advice: node?.notReady === undefined ? [] : [`node ${nodeName} is not Ready: ${node.notReady}`],
    };
  }
  const age = found?.ageSeconds ?? 0;
  const lacks =
    node === undefined
      ? []
      : [...unresponsiveness(node), ...lacksForAny(node).filter(({ code }) => code !== 'Cordoned')];
  const isOverdue = age >= PATIENCE_SECONDS && found?.isCopy === false;
  if (found?.isSeen === false && (isOverdue || lacks.length > 0)) {
    const why = lacks[0]?.text;
    return {
      verdict: 'stuck',
      reason: 'AgentUnresponsive',
      summary: `the agent of node ${nodeName} has not acted on its volume for ${age} s${why === undefined ? ': check whether it runs' : `: ${why}`}`,
      advice: [`check the agent on ${nodeName}: its pod, and its log`],
    };
  }
  const message = volume?.message ?? '';
  return {
    verdict: message === '' ? 'waits' : 'stuck',
    reason: message === '' ? 'InProgress' : 'AgentCannot',
    summary:
      message === ''
        ? `its volume is being created ${where}`
        : `its volume cannot be created yet ${where}: ${message}`,
    advice: message === '' ? [] : [`resolve that on ${nodeName}; the agent retries`],
  };
}

function unresponsiveness({ notReady, isRegistered, agent }: NodeFacts): readonly Lack[] {
  if (notReady !== undefined) return [{ code: 'NodeNotReady', text: `the node is not Ready: ${notReady}` }];
  if (agent.state === 'does-not-serve') {
    return [{ code: 'AgentNotReady', text: `it is not serving: ${agent.message ?? 'reason unknown'}` }];
  }
  return isRegistered === false
    ? [
        {
          code: 'NotRegistered',
          text: 'the driver is not registered with kubelet (CSINode lacks keelson.dev)',
        },
      ]
    : [];
}
