import type { KubeClient } from '../../kube/client.ts';
import { formatOutput, type OutputFormat } from '../output/output.ts';
import type { ClusterReader } from './cluster-reader.ts';
import type { SubjectKind } from './subject.ts';

/** What a verb of `kubectl keelson` works with. */
interface VerbContext {
  /** Arguments after the verb, without options. */
  readonly args: readonly string[];
  readonly output: OutputFormat;
  /** `-n`, or the namespace of the kubeconfig's context. */
  readonly namespace: string;
  /** `-n`; undefined selects all namespaces where a verb lists. */
  readonly givenNamespace: string | undefined;
  /** Namespace of the controller and the agents. */
  readonly systemNamespace: string;
  readonly client: KubeClient;
  readonly reader: ClusterReader;
  readonly nowMs: number;
  readonly write: (text: string) => void;
  /** `--yes`: do not prompt. */
  readonly assumeYes: boolean;
  /** Prompts the user; resolves to '' at the end of input. */
  readonly prompt: (question: string) => Promise<string>;
}

/** One verb of `kubectl keelson`; rejects with a Fault, which main prints. */
export interface ClusterVerb {
  /** One line for the list of verbs. */
  readonly summary: string;
  readonly description: string;
  /** The verb takes `KIND/NAME` of one of these kinds. */
  readonly kinds?: readonly SubjectKind[];
  /** The verb changes the cluster and prompts; it takes `--yes`. */
  readonly confirms?: true;
  readonly examples?: readonly string[];
  /** Resolves to false for a negative result: exit code 1. */
  run(context: VerbContext): Promise<boolean>;
}

/** Writes `data` in the format of `-o`; as text, what `render` returns. */
export function writeOutput(
  { output, write }: Pick<VerbContext, 'output' | 'write'>,
  data: unknown,
  render: (wide: boolean) => string,
): void {
  write(formatOutput(output, data, render));
}

/** Returns the end of a text that lists what could not be read. */
export function renderHidden(hidden: readonly string[]): string {
  return hidden.length === 0 ? '' : `\nnot read:\n${hidden.map((line) => `  - ${line}\n`).join('')}`;
}
