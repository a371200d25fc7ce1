import { stringify } from 'yaml';
import type { KubeClient } from '../../kube/client.ts';
import type { ClusterReader } from './cluster-reader.ts';

export const OUTPUTS = ['text', 'wide', 'json', 'yaml'] as const;
export type Output = (typeof OUTPUTS)[number];

/** What a verb of `kubectl keelson` works with. */
export interface VerbContext {
  /** What follows the verb, without flags. */
  readonly words: readonly string[];
  readonly output: Output;
  /** The one that was given, else the context's. */
  readonly namespace: string;
  readonly givenNamespace: string | undefined;
  /** Where the controller and the agents are. */
  readonly systemNamespace: string;
  readonly client: KubeClient;
  readonly reader: ClusterReader;
  readonly nowMs: number;
  readonly write: (text: string) => void;
  /** Whether the user wants no question: `--yes`. */
  readonly isSure: boolean;
  /** Asks the user; empty when nobody answers. */
  readonly ask: (question: string) => Promise<string>;
}

/** One verb: resolves to its exit code, or throws a Fault that main prints. */
export interface ClusterVerb {
  readonly usage: string;
  readonly summary: string;
  /** It changes something, and asks first. */
  readonly asks?: true;
  run(context: VerbContext): Promise<number>;
}

/** `facts` in the form that was asked for; as text, by `render`. */
export function writeAnswer(
  { output, write }: Pick<VerbContext, 'output' | 'write'>,
  facts: unknown,
  render: () => string,
): void {
  const plain = (): unknown =>
    JSON.parse(
      JSON.stringify(facts, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
    );
  if (output === 'json') write(`${JSON.stringify(plain(), undefined, 2)}\n`);
  else write(output === 'yaml' ? stringify(plain()) : render());
}

/** What the user could not be shown, for the end of a text. */
export function notSeen(hidden: readonly string[]): string {
  return hidden.length === 0 ? '' : `\nnot seen:\n${hidden.map((line) => `  - ${line}\n`).join('')}`;
}
