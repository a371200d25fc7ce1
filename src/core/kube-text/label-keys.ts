/** What a key of a rule is for. */
export type KeyUse = 'label' | 'taint' | 'resource';

const KEY =
  /^([a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)\/[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** Kubernetes' own names; pods and controllers trust what stands there. */
const KUBERNETES = ['kubernetes.io', 'k8s.io'];
/** Of those, what is made for descriptions of nodes (as node-feature-discovery writes them). */
const DESCRIPTIONS = ['feature.node.kubernetes.io', 'profile.node.kubernetes.io'];
/** Where other parts of ours write. */
const RESERVED_PREFIX = 'topology.keelson.dev';
const RESERVED_KEYS = ['keelson.dev/agent-not-ready'];

/** Why a rule may not write `key`; undefined when it may. */
export function refuseKey(key: string, use: KeyUse): string | undefined {
  const prefix = KEY.exec(key)?.[1];
  if (prefix === undefined) {
    return `${key} is no key with a prefix; write for example example.com/gpu`;
  }
  const owner = KUBERNETES.find((domain) => isWithin(prefix, domain));
  const describes = use === 'label' && DESCRIPTIONS.some((domain) => isWithin(prefix, domain));
  if (owner !== undefined && !describes) {
    return `${key} is under ${owner}, which is Kubernetes' own; take a prefix of yours, or keelson.dev`;
  }
  if (isWithin(prefix, RESERVED_PREFIX) || RESERVED_KEYS.includes(key)) {
    return `${key} is written by Keelson itself; take another key`;
  }
  return undefined;
}

/** Whether Kubernetes takes `value` for a label or taint. */
export function isLabelValue(value: string): boolean {
  return LABEL_VALUE.test(value);
}

function isWithin(prefix: string, domain: string): boolean {
  return prefix === domain || prefix.endsWith(`.${domain}`);
}
