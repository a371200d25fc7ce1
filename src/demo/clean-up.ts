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
import type { Narrator } from './narrator.ts';
import type { NodeLayout } from './node.ts';
import type { DemoFindings } from './report.ts';

/** What has been started and made, each to be ended in reverse order. */
export interface DemoParts {
  /** Processes of the node, and connections to them. */
  readonly node: AsyncDisposableStack;
  /** Volumes, mounts, pods and snapshots on it. */
  readonly made: AsyncDisposableStack;
  /** The same processes and connections, to be let go if the node is kept. */
  readonly letGo: (() => void)[];
}

interface CleanUpOptions {
  readonly layout: NodeLayout;
  readonly name: string;
  readonly podRange: string;
  readonly before: readonly Resource[];
  /** The story ended well, so that each part must give back all by itself; else only the result counts. */
  readonly orderly: boolean;
}

interface CleanUpDeps {
  readonly narrator: Narrator;
  readonly findings: DemoFindings;
}

interface CleanUpResult {
  readonly leftovers: Leftovers;
  /** What went wrong, if anything did. */
  readonly failure?: string | undefined;
}

/** The kernel frees namespaces and loop devices a moment after their last user is gone. */
const SETTLE_MS = 5_000;

/** Gives everything back, stops the node, removes its directory and checks that nothing is left. Never rejects for a part that will not go. */
export async function cleanUp(
  { layout, name, podRange, before, orderly }: CleanUpOptions,
  { made, node }: DemoParts,
  { narrator, findings }: CleanUpDeps,
): Promise<CleanUpResult> {
  const failures: string[] = [];
  const attempt = async (title: string, work: () => Promise<string>, mustWork: boolean): Promise<void> => {
    try {
      await narrator.step(title, work, (detail) => detail);
    } catch (error) {
      const reason = Fault.from(error instanceof SuppressedError ? error.error : error).message;
      if (mustWork) failures.push(`${title}: ${reason}`);
      narrator.text(`    ${reason}\n`);
    }
  };
  narrator.heading('Cleaning up');
  await attempt(
    'pods, snapshots and volumes are given back',
    async () => {
      await made.disposeAsync();
      return '';
    },
    orderly,
  );
  if (orderly) {
    await attempt('the agent has nothing left', () => checkNothingRemains(layout, findings), true);
  }
  await attempt(
    'proxy, containerd and agent are stopped',
    async () => {
      await node.disposeAsync();
      return '';
    },
    orderly,
  );
  await attempt(
    'the rest of the node is removed',
    async () => {
      await removeDemo(layout.directory);
      return layout.directory;
    },
    true,
  );
  let leftovers: Leftovers = { own: [], foreign: [] };
  await attempt(
    'this machine is as it was',
    async () => {
      leftovers = await settledLeftovers(before, { name, podRange });
      return describeLeftovers(leftovers);
    },
    true,
  );
  return { leftovers, failure: failures.length === 0 ? undefined : failures.join('; ') };
}

/** Before anything is removed by force: what the agent gave and did not get back is a leak of the product. */
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
    throw new Fault('precondition', `after everything was given back there are still ${text}`);
  }
  return text;
}

async function settledLeftovers(before: readonly Resource[], belongings: Belongings): Promise<Leftovers> {
  const giveUpAtMs = performance.now() + SETTLE_MS;
  for (;;) {
    const leftovers = compareMachine(before, await readMachine(), belongings);
    if (leftovers.own.length === 0) return leftovers;
    if (performance.now() >= giveUpAtMs) {
      const list = leftovers.own.map(({ kind, key }) => `${kind} ${key}`).join(', ');
      throw new Fault('precondition', `the demo left on this machine: ${list}`);
    }
    await sleep(50);
  }
}

function describeLeftovers({ foreign }: Leftovers): string {
  const kinds = RESOURCE_KINDS.map((kind) => `no ${kind}`).join(', ');
  if (foreign.length === 0) return `${kinds} is left`;
  const counts = RESOURCE_KINDS.map((kind) => ({
    kind,
    count: foreign.filter((one) => one.kind === kind).length,
  }))
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => `${kind} (${count})`);
  return `${kinds} of the demo is left; others have made meanwhile: ${counts.join(', ')}`;
}
