/** What a key of a rule is used for. */
export type KeyUse = 'label' | 'taint' | 'resource';

const KEY =
  /^([a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)\/[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** Kubernetes' own prefixes; pods and controllers trust them. */
const KUBERNETES = ['kubernetes.io', 'k8s.io'];
/** Those among them that are meant for node features (as node-feature-discovery uses them). */
const DESCRIPTIONS = ['feature.node.kubernetes.io', 'profile.node.kubernetes.io'];
/** Prefix that other parts of Keelson write. */
const RESERVED_PREFIX = 'topology.keelson.dev';
const RESERVED_KEYS = ['keelson.dev/agent-not-ready'];

/** Returns why a rule must not write `key`; undefined when it may. */
export function refuseKey(key: string, use: KeyUse): string | undefined {
  const prefix = KEY.exec(key)?.[1];
  if (prefix === undefined) {
    return `${key} has no prefix; expected for example example.com/gpu`;
  }
  const owner = KUBERNETES.find((domain) => isWithin(prefix, domain));
  const describes = use === 'label' && DESCRIPTIONS.some((domain) => isWithin(prefix, domain));
  if (owner !== undefined && !describes) {
    return `${key} is under ${owner}, which is reserved for Kubernetes; use a prefix of your own, or keelson.dev`;
  }
  if (isWithin(prefix, RESERVED_PREFIX) || RESERVED_KEYS.includes(key)) {
    return `${key} is written by Keelson; use another key`;
  }
  return undefined;
}

/** Whether `value` is a valid value of a label or taint. */
export function isLabelValue(value: string): boolean {
  return LABEL_VALUE.test(value);
}

function isWithin(prefix: string, domain: string): boolean {
  return prefix === domain || prefix.endsWith(`.${domain}`);
}
