import { Fault } from '../../src/core/fault.ts';
import type { PolicyOrigin } from '../../src/core/policies/policy.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';
import type { Reviewer } from './forwarder.ts';
import { createHttp2Forwarder } from './http2-forwarder.ts';
import { type Listener, openListener } from './listener.ts';
import { createCriMetrics, type CriMetrics } from './metrics.ts';
import { createPolicyReviewer } from './policy-reviewer.ts';
import { type PolicyFileFault, PolicyStore } from './policy-store.ts';
import { askVersion, type RuntimeVersion } from './runtime-health.ts';
import { Upstream } from './upstream.ts';

export interface CriProxyOptions {
  /** Path of the socket for kubelet; a `unix://` prefix is allowed. */
  readonly listen: string;
  /**
   * File descriptor of that socket, when a service manager created it and keeps it open while no
   * proxy runs.
   */
  readonly inherited?: number | undefined;
  /** Path of the runtime's socket; the same applies. */
  readonly runtime: string;
  /**
   * Directories of RuntimePolicy files, see PolicyStoreOptions; without one no request is reviewed.
   */
  readonly policiesDirs?: readonly string[] | undefined;
  /** How long reads wait for an unavailable runtime; default 3 s. */
  readonly holdReadsMs?: number;
  /** How long a stop waits for calls in flight; default 30 s. */
  readonly drainMs?: number;
}

export interface CriProxyDeps {
  readonly logger: Logger;
  readonly metrics: MetricsRegistry;
  readonly clock?: Clock;
}

export interface CriProxy {
  /**
   * Serves until the signal aborts, then finishes the calls in flight. Rejects when it cannot
   * listen.
   */
  run(signal: AbortSignal, onReady?: () => void): Promise<void>;
  /** Makes a call to the runtime; rejects with the reason when it does not respond. */
  runtimeHealth(signal?: AbortSignal): Promise<RuntimeVersion>;
  /** Returns which policies of the files apply, and which do not. */
  policies(): PolicyReport;
}

/** Policies in `/status` of the proxy's admin socket. */
interface PolicyReport {
  /** Those from the API have the UID and generation of their object. */
  readonly inForce: readonly ({ readonly name: string } & Partial<PolicyOrigin>)[];
  /** Errors of files that are not applied as they are. */
  readonly faults: readonly PolicyFileFault[];
}

/**
 * Creates a CRI endpoint that forwards everything to the runtime and applies runtime policies. No
 * side effects before `run`.
 */
export function createCriProxy(options: CriProxyOptions, deps: CriProxyDeps): CriProxy {
  const { clock = systemClock } = deps;
  const logger = deps.logger.child({ component: 'cri-proxy' });
  const { listen, runtime } = socketPaths(options);
  const metrics = createCriMetrics(deps.metrics);
  const store = createPolicyStore(options, { logger, clock, metrics });
  const reviewer = createReviewer(store, { logger, metrics });
  const health = new Upstream({ socketPath: runtime }, { clock });
  let listener: Listener | undefined;

  const copyAccess = (): void => {
    listener?.copyAccess().catch((error: unknown) => {
      logger.warn({ err: error }, "cannot copy owner and mode of the runtime's socket");
    });
  };
  const forwarder = createHttp2Forwarder(
    { socketPath: runtime, holdReadsMs: options.holdReadsMs ?? 3_000 },
    {
      reviewer,
      observer: metrics,
      clock,
      onConnected: () => {
        metrics.upstreamConnected();
        copyAccess();
      },
      onLost: () => {
        metrics.upstreamLost();
        logger.debug({ runtime }, 'connection to the runtime ended');
      },
    },
  );

  const serve = async (signal: AbortSignal, onReady: (() => void) | undefined): Promise<void> => {
    await store?.load();
    const following = store?.run(signal);
    listener = await openListener({ listen, runtime, inherited: options.inherited }, (socket) =>
      forwarder.accept(socket),
    );
    logger.info({ listen, runtime }, 'CRI proxy started');
    onReady?.();
    await aborted(signal);
    await listener[Symbol.asyncDispose]();
    await forwarder.drain(options.drainMs ?? 30_000);
    await following;
    logger.info({ listen }, 'CRI proxy stopped');
  };

  return {
    async run(signal, onReady) {
      try {
        await serve(signal, onReady);
      } finally {
        health[Symbol.dispose]();
      }
    },
    runtimeHealth: (signal) => askVersion(health, signal),
    policies: () => ({
      inForce: (store?.policies ?? []).map(({ name, origin }) => ({ name, ...origin })),
      faults: store?.faults ?? [],
    }),
  };
}

/** Throws `invalid` unless both are sockets, and different ones. */
function socketPaths(options: CriProxyOptions): { readonly listen: string; readonly runtime: string } {
  const listen = socketPath(options.listen, 'listen');
  const runtime = socketPath(options.runtime, 'runtime');
  if (listen !== runtime) return { listen, runtime };
  throw new Fault('invalid', `the proxy must not listen on ${listen}, which is the runtime's own socket`);
}

function createPolicyStore(
  { policiesDirs = [] }: CriProxyOptions,
  {
    logger,
    clock,
    metrics,
  }: { readonly logger: Logger; readonly clock: Clock; readonly metrics: CriMetrics },
): PolicyStore | undefined {
  if (policiesDirs.length === 0) return undefined;
  return new PolicyStore(
    { directories: policiesDirs },
    { logger, clock, onLoaded: (loaded) => metrics.policiesLoaded(loaded) },
  );
}

function socketPath(address: string, option: string): string {
  const path = address.replace(/^unix:(\/\/)?(?=\/)/, '');
  if (path.startsWith('/')) return path;
  throw new Fault(
    'invalid',
    `${option}: ${JSON.stringify(address)} is not a socket; expected an absolute path like /run/containerd/containerd.sock`,
    { fields: { field: option } },
  );
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function createReviewer(
  store: PolicyStore | undefined,
  { logger, metrics }: { readonly logger: Logger; readonly metrics: CriMetrics },
): Reviewer {
  return createPolicyReviewer({
    source: store ?? { policies: [] },
    logger,
    onEffect: (operation, effect) => metrics.effect(operation, effect),
    onFailure: (operation) => metrics.policyFailure(operation),
  });
}
