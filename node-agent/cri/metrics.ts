import { Counter, Gauge, Histogram } from 'prom-client';
import { methodLabel } from '../../src/core/policies/cri-call.ts';
import type { PolicyOperation } from '../../src/core/policies/policy.ts';
import type { PolicyEffect } from '../../src/core/policies/policy-decide.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';
import type { CallObserver } from './forwarder.ts';

export interface CriMetrics extends CallObserver {
  effect(operation: PolicyOperation, effect: PolicyEffect): void;
  policyFailure(operation: PolicyOperation): void;
  policiesLoaded(loaded: { readonly policies: number; readonly badFiles: number }): void;
  upstreamConnected(): void;
  upstreamLost(): void;
}

/** Registers the proxy's metrics in `registry`. */
export function createCriMetrics(registry: MetricsRegistry): CriMetrics {
  const registers = [registry];
  const calls = new Counter({
    name: 'keelson_cri_calls_total',
    help: 'CRI calls by method and gRPC status code; "reset" is a call that ended without a status',
    labelNames: ['method', 'code'],
    registers,
  });
  const active = new Gauge({ name: 'keelson_cri_calls_active', help: 'CRI calls in flight', registers });
  const added = new Histogram({
    name: 'keelson_cri_added_seconds',
    help: 'Time that the proxy adds to a CRI call',
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1],
    registers,
  });
  const decisions = new Counter({
    name: 'keelson_cri_policy_decisions_total',
    help: 'Effects of runtime policies',
    labelNames: ['policy', 'effect', 'operation', 'dry_run'],
    registers,
  });
  const failures = new Counter({
    name: 'keelson_cri_policy_failures_total',
    help: 'Requests to which policies could not be applied',
    labelNames: ['operation'],
    registers,
  });
  const loaded = new Gauge({
    name: 'keelson_cri_policies',
    help: 'Runtime policies in force',
    registers,
  });
  const bad = new Gauge({
    name: 'keelson_cri_policy_files_bad',
    help: 'Policy files with errors, whose last valid content stays in force',
    registers,
  });
  const connections = new Gauge({
    name: 'keelson_cri_runtime_connections',
    help: 'Connections to the container runtime',
    registers,
  });
  return {
    started: () => active.inc(),
    finished(path, code, addedMs) {
      active.dec();
      calls.inc({ method: methodLabel(path), code });
      if (addedMs !== undefined) added.observe(addedMs / 1000);
    },
    effect: (operation, { policy, effect, dryRun }) =>
      decisions.inc({ policy, effect, operation, dry_run: String(dryRun) }),
    policyFailure: (operation) => failures.inc({ operation }),
    policiesLoaded({ policies, badFiles }) {
      loaded.set(policies);
      bad.set(badFiles);
    },
    upstreamConnected: () => connections.inc(),
    upstreamLost: () => connections.dec(),
  };
}
