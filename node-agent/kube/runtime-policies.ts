import { API_GROUP, API_VERSION } from '../../src/api/kind.ts';
import {
  RUNTIME_POLICIES,
  RUNTIME_POLICY_KIND,
  type RuntimePolicyObject,
} from '../../src/api/runtime-policy.ts';
import { type PolicyFacts, policyFileName, readPolicyReport } from '../../src/core/policies/policy-report.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer, type InformerObserver } from '../../src/kube/informer.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { type Clock, sleep, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';

export interface RuntimePoliciesDeps {
  readonly client: KubeClient;
  /** Where the CRI proxy reads them. */
  readonly files: { replace(texts: ReadonlyMap<string, string>): Promise<boolean> };
  /** The proxy's reported status; undefined when this node has none. */
  readonly askProxy: () => Promise<unknown>;
  /** Directory of the API's policies, as the proxy names it. */
  readonly directory: string;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
  /** Called when the files changed: the proxy will apply others soon. */
  readonly onChange: () => void;
}

/**
 * Passes the RuntimePolicies of the API to this node's CRI proxy. Until all of them have been read
 * once, and while the API server is unavailable, the current ones stay.
 */
export class RuntimePolicies {
  readonly #deps: RuntimePoliciesDeps;
  readonly #policies: Informer<RuntimePolicyObject>;
  readonly #runner: BoundedRunner;

  constructor(deps: RuntimePoliciesDeps) {
    const { client, logger, clock = systemClock, observer } = deps;
    this.#deps = deps;
    this.#policies = new Informer(
      { resource: RUNTIME_POLICIES, transform: withoutStatus },
      { client, logger, clock, ...(observer === undefined ? {} : { observer }) },
    );
    this.#runner = new BoundedRunner(
      { name: 'runtime-policies', minIntervalMs: 100, maxIntervalMs: 600_000, retryMs: 2_000 },
      (signal) => this.#write(signal),
      { logger, clock },
    );
  }

  /** Follows the API until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    using _policies = this.#policies.subscribe(() => this.#runner.poke());
    const known = this.#policies.synced({ signal }).then(
      () => this.#runner.run(signal),
      () => undefined,
    );
    await Promise.all([this.#policies.run(signal), known]);
  }

  /**
   * Returns which of them the proxy applies; undefined when this node has no proxy. Rejects when it
   * does not respond.
   */
  async inForce(): Promise<readonly PolicyFacts[] | undefined> {
    const status = await this.#deps.askProxy();
    if (status === undefined || !this.#policies.hasSynced) return undefined;
    const expected = [...this.#policies.store.values()].map(({ metadata }) => ({
      name: metadata?.name ?? '',
      uid: metadata?.uid ?? '',
    }));
    return readPolicyReport(status, { directory: this.#deps.directory, expected });
  }

  async #write(signal: AbortSignal): Promise<void> {
    const texts = new Map(
      [...this.#policies.store.values()].map((policy) => [
        policyFileName(policy.metadata?.name ?? ''),
        documentOf(policy),
      ]),
    );
    if (!(await this.#deps.files.replace(texts))) return;
    this.#deps.logger.info({ policies: [...texts.keys()] }, 'passed runtime policies to the CRI proxy');
    await this.#untilTaken(signal);
    this.#deps.onChange();
  }

  /**
   * Waits until the proxy has read its files, so that the result is published without delay; a
   * proxy that does not respond is reported later.
   */
  async #untilTaken(signal: AbortSignal): Promise<void> {
    const generations = new Map(
      [...this.#policies.store.values()].map(({ metadata }) => [metadata?.name, metadata?.generation]),
    );
    for (let look = 0; look < TAKEN_LOOKS; look += 1) {
      const facts = await this.inForce().catch(() => undefined);
      if (facts === undefined) return;
      const settled = ({ name, generation, problem }: PolicyFacts): boolean =>
        problem !== undefined || generation === generations.get(name);
      if (facts.every(settled)) return;
      await sleep(TAKEN_EVERY_MS, { signal, clock: this.#deps.clock ?? systemClock });
    }
  }
}

const TAKEN_LOOKS = 15;
const TAKEN_EVERY_MS = 200;

/** JSON, which is YAML. Only what the proxy reads: other changes do not change the file. */
function documentOf({ metadata, spec }: RuntimePolicyObject): string {
  const { name = '', uid = '', generation = 0 } = metadata ?? {};
  const document = {
    apiVersion: `${API_GROUP}/${API_VERSION}`,
    kind: RUNTIME_POLICY_KIND.kind,
    metadata: { name, uid, generation },
    spec,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** Every node writes to the status of every policy, which is not read here. */
function withoutStatus(policy: RuntimePolicyObject): RuntimePolicyObject {
  const { managedFields: _dropped, ...metadata } = policy.metadata ?? {};
  return { metadata, spec: policy.spec };
}
