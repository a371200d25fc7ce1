import { Counter, Gauge, Histogram } from 'prom-client';
import type { FaultKind } from '../../core/fault.ts';
import type { MetricsRegistry } from '../../runtime/metrics.ts';
import type { WorkQueueObserver } from '../../runtime/work-queue.ts';
import { createLabelMetrics, type LabelMetrics } from './label-metrics.ts';

/** Metrics of the controller. */
export interface ControllerMetrics {
  provisioned(seconds: number): void;
  refused(kind: FaultKind): void;
  rescheduled(): void;
  released(): void;
  queue(name: string): WorkQueueObserver;
  readonly labels: LabelMetrics;
}

/** Registers the metrics; at most once per registry. */
export function createControllerMetrics(registry: MetricsRegistry): ControllerMetrics {
  const registers = [registry];
  const provisioning = new Histogram({
    name: 'keelson_controller_provisioning_duration_seconds',
    help: 'Time from the creation of a claim to its PersistentVolume, including the wait for a pod',
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers,
  });
  const refusals = new Counter({
    name: 'keelson_controller_claim_refusals_total',
    help: 'Provisioning attempts that failed, by reason',
    labelNames: ['kind'],
    registers,
  });
  const reschedules = new Counter({
    name: 'keelson_controller_reschedules_total',
    help: 'Claims returned to the scheduler because their node could not create the volume',
    registers,
  });
  const releases = new Counter({
    name: 'keelson_controller_volumes_released_total',
    help: 'Volumes deleted by their reclaim policy',
    registers,
  });
  const sizes = new Map<string, () => number>();
  const depth: Gauge<'queue'> = new Gauge({
    name: 'keelson_controller_queue_depth',
    help: 'Keys waiting in a work queue',
    labelNames: ['queue'],
    registers,
    collect() {
      for (const [queue, size] of sizes) depth.set({ queue }, size());
    },
  });
  const work = new Histogram({
    name: 'keelson_controller_work_duration_seconds',
    help: 'Duration of one reconciliation',
    labelNames: ['queue', 'result'],
    buckets: [0.001, 0.01, 0.05, 0.25, 1, 5],
    registers,
  });
  return {
    provisioned: (seconds) => provisioning.observe(seconds),
    refused: (kind) => refusals.inc({ kind }),
    rescheduled: () => reschedules.inc(),
    released: () => releases.inc(),
    labels: createLabelMetrics(registry),
    queue: (queue) => ({
      watches: (size) => void sizes.set(queue, size),
      done: (result, durationMs) => work.observe({ queue, result }, durationMs / 1_000),
    }),
  };
}
