import { homedir } from 'node:os';
import { Argument } from '@commander-js/extra-typings';
import { findCluster } from '../../kube/cluster-access.ts';
import { HttpKubeClient } from '../../kube/http-client.ts';
import { deadlineSignal } from '../../runtime/signals.ts';
import { VERSION } from '../../version.ts';
import type { CliContext } from '../context.ts';
import type { SubjectKind } from '../kubectl/subject.ts';
import type { Candidate, CompletingArgument, Completion, CompletionInput } from './completion.ts';
import { Directive } from './completion.ts';

/** A TAB that takes longer disturbs more than it helps. */
const TIMEOUT_MS = 3_000;
const MAX_NAMES = 500;

/** The argument KIND/NAME of a verb; completes kinds, and names from the API server. */
export class SubjectArgument extends Argument<'<kind/name...>'> implements CompletingArgument {
  readonly #kinds: readonly SubjectKind[];
  readonly #context: Pick<CliContext, 'env' | 'signal'>;

  constructor(
    description: string,
    kinds: readonly SubjectKind[],
    context: Pick<CliContext, 'env' | 'signal'>,
  ) {
    super('<kind/name...>', description);
    this.#kinds = kinds;
    this.#context = context;
  }

  async complete({ words, word, options }: CompletionInput): Promise<Completion> {
    const [spelling = '', prefix] = words.length === 0 ? word.split('/') : [words[0], ''];
    const kind = this.#kinds.find(({ names }) => names.includes(spelling));
    if (words.length === 0 && prefix === undefined) {
      const candidates = this.#kinds.map(({ names: [shown] }): Candidate => ({ value: `${shown}/` }));
      return { candidates, directive: Directive.noSpace | Directive.noFiles };
    }
    if (kind === undefined || words.length > 1) return { candidates: [], directive: Directive.noFiles };
    const names = await this.#namesOf(kind, options).catch((): readonly string[] => []);
    const values = words.length === 0 ? names.map((name) => `${spelling}/${name}`) : names;
    return { candidates: values.map((value) => ({ value })), directive: Directive.noFiles };
  }

  async #namesOf({ resource }: SubjectKind, options: CompletionInput['options']): Promise<readonly string[]> {
    const { env, signal } = this.#context;
    using deadline = deadlineSignal(TIMEOUT_MS, { signal });
    const access = await findCluster({
      env,
      homeDirectory: homedir(),
      kubeconfig: options['kubeconfig'],
      context: options['context'],
    });
    using client = new HttpKubeClient({ access, userAgent: `kubectl-keelson/${VERSION}` });
    const { items } = await client.list(resource, {
      limit: MAX_NAMES,
      signal: deadline.signal,
      ...(resource.namespaced ? { namespace: options['namespace'] ?? access.namespace } : {}),
    });
    return items.map(({ metadata }) => metadata?.name ?? '');
  }
}
