import type { AgentStatus } from '../core/inventory/agent-status.ts';
import { Fault } from '../core/fault.ts';
import { sleep } from '../runtime/clock.ts';
import { deadlineSignal } from '../runtime/signals.ts';
import { getFromAgent } from '../runtime/admin-client.ts';
import { removeDemo } from './demo-directory.ts';
import { type Belongings, compareMachine, type Leftovers } from './leftovers.ts';
import { readMachine, RESOURCE_KINDS, type Resource } from './machine-state.ts';
import { isWithin } from '../core/volumes/mount-table.ts';
import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import type { ProgressReporter } from './progress-reporter.ts';
import type { NodeLayout } from './node.ts';
import type { DemoFindings } from './report.ts';

/** What a run has started and created; disposed in reverse order. */
export interface DemoParts {
  /** Processes of the node, and connections to them. */
  readonly node: AsyncDisposableStack;
  /** Volumes, mounts, pods and snapshots. */
  readonly resources: AsyncDisposableStack;
  /** Detaches from the processes and connections if the node is kept. */
  readonly detach: (() => void)[];
}

interface CleanUpOptions {
  readonly layout: NodeLayout;
  readonly name: string;
  readonly podRange: string;
  readonly before: readonly Resource[];
  /** The scenario passed, so every release must succeed; otherwise only the final state counts. */
  readonly orderly: boolean;
}

interface CleanUpDeps {
  readonly progress: ProgressReporter;
  readonly findings: DemoFindings;
}

interface CleanUpResult {
  readonly leftovers: Leftovers;
  /** Messages of failed steps. */
  readonly failure?: string | undefined;
}

/** The kernel frees namespaces and loop devices asynchronously. */
const SETTLE_MS = 5_000;

/**
 * Releases resources, stops the node, removes its directory and checks for leftovers. Never
 * rejects.
 */
export async function cleanUp(
  { layout, name, podRange, before, orderly }: CleanUpOptions,
  { resources, node }: DemoParts,
  { progress, findings }: CleanUpDeps,
): Promise<CleanUpResult> {
  const failures: string[] = [];
  const attempt = async (title: string, work: () => Promise<string>, mustWork: boolean): Promise<void> => {
    try {
      await progress.step(title, work, (detail) => detail);
    } catch (error) {
      const reason = Fault.from(error instanceof SuppressedError ? error.error : error).message;
      if (mustWork) failures.push(`${title}: ${reason}`);
      progress.text(`    ${reason}\n`);
    }
  };
  progress.heading('Cleaning up');
  await attempt(
    'release pods, snapshots and volumes',
    async () => {
      await resources.disposeAsync();
      return '';
    },
    orderly,
  );
  if (orderly) {
    await attempt(
      'check that the agent has no resources left',
      () => checkNothingRemains(layout, findings),
      true,
    );
  }
  await attempt(
    'stop the proxy, containerd and the agent',
    async () => {
      await node.disposeAsync();
      return '';
    },
    orderly,
  );
  await attempt(
    'remove the node',
    async () => {
      await removeDemo(layout.directory);
      return layout.directory;
    },
    true,
  );
  let leftovers: Leftovers = { own: [], foreign: [] };
  await attempt(
    'compare this machine with its state before the run',
    async () => {
      leftovers = await settledLeftovers(before, { name, podRange });
      return describeLeftovers(leftovers);
    },
    true,
  );
  return { leftovers, failure: failures.length === 0 ? undefined : failures.join('; ') };
}

/** Runs before any forced removal, which would hide a leak of the agent. */
async function checkNothingRemains(layout: NodeLayout, findings: DemoFindings): Promise<string> {
  using deadline = deadlineSignal(5_000);
  const status = (await getFromAgent(layout.adminSocket, '/status', deadline.signal)) as AgentStatus;
  const remaining = {
    volumes: status.volumes.length,
    snapshots: status.snapshots.length,
    attachments: status.network.attachments.length,
  };
  findings.remaining = remaining;
  const mounts = (await readMountTable()).filter(({ mountPoint }) => isWithin(mountPoint, layout.kubeletDir));
  const text = `${remaining.volumes} volumes, ${remaining.snapshots} snapshots, ${remaining.attachments} pod addresses, ${mounts.length} volume mounts`;
  if (Object.values(remaining).some((count) => count > 0) || mounts.length > 0) {
    throw new Fault('precondition', `resources left after cleanup: ${text}`);
  }
  return text;
}

async function settledLeftovers(before: readonly Resource[], belongings: Belongings): Promise<Leftovers> {
  const deadlineMs = performance.now() + SETTLE_MS;
  for (;;) {
    const leftovers = compareMachine(before, await readMachine(), belongings);
    if (leftovers.own.length === 0) return leftovers;
    if (performance.now() >= deadlineMs) {
      const list = leftovers.own.map(({ kind, key }) => `${kind} ${key}`).join(', ');
      throw new Fault('precondition', `leftovers of the demo on this machine: ${list}`);
    }
    await sleep(50);
  }
}

function describeLeftovers({ foreign }: Leftovers): string {
  const kinds = RESOURCE_KINDS.map((kind) => `no ${kind}`).join(', ');
  if (foreign.length === 0) return `${kinds} left`;
  const counts = RESOURCE_KINDS.map((kind) => ({
    kind,
    count: foreign.filter((one) => one.kind === kind).length,
  }))
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => `${kind} (${count})`);
  return `${kinds} of the demo left; other programs created: ${counts.join(', ')}`;
}
