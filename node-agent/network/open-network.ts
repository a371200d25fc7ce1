import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AddressAllocator, type AllocatorOptions } from '../../src/core/network/ipam.ts';
import { parseCidrs } from '../../src/core/network/ipam-ranges.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { every } from '../../src/runtime/interval.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { TaskGroup } from '../../src/runtime/task-group.ts';
import { type Kernel, startKernel } from '../linux/kernel/kernel.ts';
import { applyNft, listNftTable } from '../linux/net/nft.ts';
import { reserveOrphans } from './addresses/orphan-addresses.ts';
import { PodRanges } from './addresses/pod-ranges.ts';
import { AttachmentStore } from './attachments/attachment-store.ts';
import { Attachments } from './attachments/attachments.ts';
import { Collector } from './collection/collector.ts';
import { Firewall } from './datapath/firewall.ts';
import { createKernelLinks } from './datapath/kernel-links.ts';
import { PeerRoutes, type PeerRouteTable } from './datapath/peer-routes.ts';
import { PodMtu } from './datapath/pod-mtu.ts';
import type { Network, NetworkDeps, NetworkOptions } from './network.ts';
import { NodeNetwork } from './node-network.ts';

const DEFAULT_COOLDOWN_MS = 120_000;

/**
 * Opens the network: drops the state of an earlier boot, takes over attachments, and applies the
 * firewall table.
 */
export async function openNetwork(options: NetworkOptions, deps: NetworkDeps): Promise<Network> {
  await using opening = new AsyncDisposableStack();
  const network = await assemble(options, deps, opening);
  const { logger, clock = systemClock } = deps;
  const tasks = new TaskGroup({ logger });
  const repeat = (name: string, everyMs: number, work: (signal: AbortSignal) => Promise<void>): void =>
    tasks.run(name, (signal) => every({ name, everyMs, signal }, work, { logger, clock }));
  repeat('network-collector', options.collectEveryMs ?? 60_000, (signal) => network.collect(signal));
  repeat('network-firewall', options.verifyEveryMs ?? 30_000, () => network.verify());
  repeat('network-routes', options.verifyRoutesEveryMs ?? 2_000, () => network.ensureRoutes());
  const resources = opening.move();
  return Object.assign(network, {
    async [Symbol.asyncDispose](): Promise<void> {
      tasks.stop();
      await tasks.wait();
      await resources.disposeAsync();
    },
  });
}

async function assemble(
  options: NetworkOptions,
  deps: NetworkDeps,
  opening: AsyncDisposableStack,
): Promise<NodeNetwork> {
  const { logger, clock = systemClock, onStatus = () => undefined } = deps;
  const { containers = () => Promise.resolve(undefined) } = deps;
  const { cooldownMs = DEFAULT_COOLDOWN_MS } = options;
  const ranges = new PodRanges('network.ranges', options.ranges);
  const exclusions = parseCidrs('network.masqueradeExclusions', options.masqueradeExclusions ?? []);
  const kernel = deps.kernel ?? opening.use(startKernel({ name: 'keelson-net' }));
  const mtu = new PodMtu(options.mtu ?? 'auto', {
    ranges,
    readUplinkMtu: () => kernel.call('readUplinkMtu'),
  });
  const links = opening.use(createKernelLinks(kernel));
  const store = await openStore(options, deps);
  const stored = await store.load();
  const nowMs = (): number => clock.monotonicMs();
  const allocator = restoreAllocator({ ranges: ranges.current, cooldownMs }, stored.cooling, clock);
  const firewall: Firewall = new Firewall(
    { ranges: ranges.current, exclusions },
    { nft: { apply: applyNft, list: listNftTable }, logger, attachments: () => attachments.list() },
  );
  const onForgotten = (attachment: { readonly addresses: readonly string[] }): void => {
    if (ranges.isStray(attachment)) onStatus();
  };
  const attachments = new Attachments(
    { links, records: store, hostPorts: firewall, allocator, nowMs, mtu: () => mtu.current, onForgotten },
    stored.attachments,
  );
  await kernel.call('ensureForwarding', ranges.current);
  await firewall.apply();
  await mtu.refresh();
  const orphans = await reserveOrphans(kernel, attachments, allocator, logger);
  const onLinkRemoved = (link: string): void => {
    for (const address of orphans.get(link) ?? []) allocator.release(address, nowMs());
    orphans.delete(link);
  };
  const collector = new Collector({ attachments, links, containers, onLinkRemoved, logger });
  const routes = createPeerRoutes(kernel, logger, onStatus);
  return new NodeNetwork(
    { exclusions, cooldownMs },
    {
      kernel,
      ranges,
      mtu,
      allocator,
      attachments,
      firewall,
      routes,
      collector,
      store,
      logger,
      clock,
      onStatus,
    },
  );
}

async function openStore(
  { stateDir }: NetworkOptions,
  { logger }: Pick<NetworkDeps, 'logger'>,
): Promise<AttachmentStore> {
  const directory = join(stateDir, 'network');
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  return await AttachmentStore.open({ directory, bootId }, { logger });
}

/**
 * Returns an allocator that knows the cooldowns of stored addresses, by their start in milliseconds
 * since the epoch.
 */
function restoreAllocator(
  options: AllocatorOptions,
  cooling: ReadonlyMap<string, number>,
  clock: Clock,
): AddressAllocator {
  const allocator = new AddressAllocator(options);
  for (const [address, sinceMs] of cooling) {
    allocator.release(address, clock.monotonicMs() - Math.max(0, clock.nowMs() - sinceMs));
  }
  return allocator;
}

function createPeerRoutes(kernel: Kernel, logger: Logger, onProblems: () => void): PeerRoutes {
  const table = {
    read: () => kernel.call('readPeerRoutes'),
    change: (plan: Parameters<PeerRouteTable['change']>[0]) => kernel.call('changePeerRoutes', plan),
  };
  return new PeerRoutes({ table, logger, onProblems });
}
