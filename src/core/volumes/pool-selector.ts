import { Fault } from '../fault.ts';
import { type LabelSelector, selectsLabels } from '../kube-text/label-selector.ts';
import { parseLabelSelector } from '../kube-text/label-selector-text.ts';

/** Selects pools by their labels. */
export interface PoolSelector {
  /** The selector as written, for messages. */
  readonly text: string;
  readonly selector: LabelSelector;
}

/** Limits the length of a selector in characters. */
const MAX_LENGTH = 1024;

/** Parses a label selector. Throws `invalid`, which names `field`. */
export function parsePoolSelector(text: string, field: string): PoolSelector {
  if (text.length > MAX_LENGTH) {
    throw new Fault('invalid', `${field}: has ${text.length} characters, the limit is ${MAX_LENGTH}`);
  }
  return { text, selector: parseLabelSelector(text, field) };
}

/** Returns why a pool with these labels is not selected; undefined if it is. */
export function refuseLabels(
  { text, selector }: PoolSelector,
  labels: Readonly<Record<string, string>>,
): string | undefined {
  return selectsLabels(selector, labels)
    ? undefined
    : `has ${describeLabels(labels)}, but must match poolSelector ${text}`;
}

/** Formats labels as `media=ssd,tier=gold`, by key; empty for none. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs.map(([key, value]) => `${key}=${value}`).join(',');
}

function describeLabels(labels: Readonly<Record<string, string>>): string {
  const count = Object.keys(labels).length;
  if (count === 0) return 'no labels';
  return `${count === 1 ? 'label' : 'labels'} ${formatLabels(labels)}`;
}
