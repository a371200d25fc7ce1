import { Fault } from '../fault.ts';
import { type LabelSelector, selectsLabels } from '../kube-text/label-selector.ts';
import { parseLabelSelector } from '../kube-text/label-selector-text.ts';

/** Which pools come into question, by their labels. */
export interface PoolSelector {
  /** As it was written, for people. */
  readonly text: string;
  readonly selector: LabelSelector;
}

/** What a record of a volume takes of any parameter. */
const MAX_LENGTH = 1024;

/** Throws `invalid` for what is no label selector. */
export function parsePoolSelector(text: string, field: string): PoolSelector {
  if (text.length > MAX_LENGTH) {
    throw new Fault('invalid', `${field}: has ${text.length} characters; at most ${MAX_LENGTH} are possible`);
  }
  return { text, selector: parseLabelSelector(text, field) };
}

/**
 * Why a pool with these labels is not selected; undefined when it is. A pool without labels of its
 * own has none: `{}`.
 */
export function refuseLabels(
  { text, selector }: PoolSelector,
  labels: Readonly<Record<string, string>>,
): string | undefined {
  return selectsLabels(selector, labels)
    ? undefined
    : `has ${describeLabels(labels)}, and poolSelector ${text} is asked for`;
}

/** `media=ssd,tier=gold`, by their keys; empty for none. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs.map(([key, value]) => `${key}=${value}`).join(',');
}

function describeLabels(labels: Readonly<Record<string, string>>): string {
  const count = Object.keys(labels).length;
  if (count === 0) return 'no labels';
  return `${count === 1 ? 'label' : 'labels'} ${formatLabels(labels)}`;
}
