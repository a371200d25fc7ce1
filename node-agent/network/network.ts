import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Attachment, type AttachmentKey, attachmentName } from '../../src/core/attachment.ts';
import type { Cidr } from '../../src/core/cidr.ts';
import { Fault } from '../../src/core/fault.ts';
import { AddressAllocator, type AddressCounts } from '../../src/core/ipam.ts';
import { parseCidrs, parsePodRanges } from '../../src/core/ipam-ranges.ts';
import { HOST_LINK_PREFIX } from '../../src/core/link-plan.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { every } from '../../src/runtime/interval.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { TaskGroup } from '../../src/runtime/task-group.ts';
import { type Kernel, startKernel } from '../linux/kernel.ts';
import { deleteLinks } from '../linux/link-deletion.ts';
import { readNetnsId } from '../linux/netns.ts';
import { applyNft, listNftTable } from '../linux/nft.ts';
import { Attachments, type AttachRequest, type Links } from './attachments.ts';
import { Collector } from './collector.ts';
import { Firewall } from './firewall.ts';
import { LinkReaper } from './link-reaper.ts';
import { type LockOptions, SharedLock } from './shared-lock.ts';
import { AttachmentStore } from './store.ts';

export interface NetworkOptions {
  /** On tmpfs; the network keeps its records in `network` below it. */
  readonly stateDir: string;
  /** Pod ranges: at least one of IPv4; pods get an IPv6 address too when there is a range for it. */
  readonly ranges: readonly string[];
  /** `auto`: that of the link to which the default route leads, read again from time to time. */
  readonly mtu?: 'auto' | number;
  /** Destinations that see a pod's own address instead of the node's. */
  readonly masqueradeExclusions?: readonly string[];
  /** How long a released address rests. */
  readonly cooldownMs?: number;
  /** How often leaks are looked for; what two rounds in a row see is removed. */
  readonly collectEveryMs?: number;
  /** How often the firewall table is looked at. */
  readonly verifyEveryMs?: number;
}

export interface NetworkDeps {
  readonly logger: Logger;
  /** Asks questions and makes links. Absent: a worker of the network's own. */
  readonly kernel?: Kernel;
  readonly clock?: Clock;
  /** Ids of the containers that the runtime knows; undefined when it cannot say. Absent: nobody can. */
  readonly containers?: () => Promise<ReadonlySet<string> | undefined>;
}

export interface NetworkStatus {
  readonly attachments: number;
  readonly addresses: readonly AddressCounts[];
  readonly mtu: number;
}

/** The pod network of this node. Disposing stops the agent's work on it and leaves every pod connected. */
export interface Network extends AsyncDisposable {
  /** Gives a pod an interface; see `Attachments.attach` for its faults. Undone when `signal` aborts before it returns. */
  attach(request: AttachRequest, options?: LockOptions): Promise<Attachment>;
  /** Removes it; also when the namespace, the link or the record is gone already. */
  detach(key: AttachmentKey, options?: LockOptions): Promise<void>;
  /** Throws `precondition` when the interface is not as it was made. */
  check(key: AttachmentKey, netns: string, options?: LockOptions): Promise<Attachment>;
  /** Removes every attachment of `network` that `valid` does not name; goes on after a failure and then reports it. */
  gc(network: string, valid: readonly AttachmentKey[], options?: LockOptions): Promise<void>;
  /** Throws `unavailable` when no pod could be attached for a reason that concerns the node as a whole. */
  status(): NetworkStatus;
  list(): readonly Attachment[];
  /** Looks for leaks and at the firewall table now, as the periodic work does. */
  maintain(): Promise<void>;
}

const DEFAULT_MTU = 1500;
const MIN_MTU = { 4: 576, 6: 1280 } as const;
const DEFAULT_COOLDOWN_MS = 120_000;

/** Opens the network: drops the state of an earlier boot, takes over living attachments, and puts the firewall table in force. */
export async function openNetwork(options: NetworkOptions, deps: NetworkDeps): Promise<Network> {
  const { logger, clock = systemClock, containers = () => Promise.resolve(undefined) } = deps;
  const ranges = parsePodRanges('network.ranges', options.ranges);
  const exclusions = parseCidrs('network.masqueradeExclusions', options.masqueradeExclusions ?? []);
  const cooldownMs = options.cooldownMs ?? DEFAULT_COOLDOWN_MS;
  const fixedMtu = parseMtu(options.mtu ?? 'auto', ranges);

  await using opening = new AsyncDisposableStack();
  const kernel = deps.kernel ?? opening.use(startKernel({ name: 'keelson-net' }));
  const reaper = new LinkReaper({ has: (name) => kernel.call('hasLink', name), delete: deleteLinks });
  opening.defer(() => reaper.settle());
  const links: Links = {
    attach: (plan) => kernel.call('attachLink', plan),
    remove: (name) => reaper.remove(name),
    observe: (link) => kernel.call('observeLink', link),
    netnsId: readNetnsId,
  };

  const directory = join(options.stateDir, 'network');
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const store = await AttachmentStore.open({ directory, bootId }, { logger });
  const stored = await store.load();

  const allocator = new AddressAllocator({ ranges, cooldownMs });
  const nowMs = (): number => clock.monotonicMs();
  for (const [address, sinceMs] of stored.cooling) {
    allocator.release(address, nowMs() - Math.max(0, clock.nowMs() - sinceMs));
  }
  let mtu = fixedMtu ?? DEFAULT_MTU;
  const attachments: Attachments = new Attachments(
    {
      links,
      records: store,
      hostPorts: {
        open: (attachment) => firewall.open(attachment),
        close: (attachment) => firewall.close(attachment),
      },
      allocator,
      nowMs,
      mtu: () => mtu,
    },
    stored.attachments,
  );
  const firewall: Firewall = new Firewall(
    { ranges, exclusions },
    { nft: { apply: applyNft, list: listNftTable }, logger, attachments: () => attachments.list() },
  );

  await kernel.call('ensureForwarding', ranges);
  await firewall.apply();
  const refreshMtu = async (): Promise<void> => {
    const found = fixedMtu ?? (await kernel.call('readUplinkMtu')) ?? DEFAULT_MTU;
    mtu = Math.max(found, leastMtu(ranges));
  };
  await refreshMtu();
  const orphans = await reserveOrphans(kernel, attachments, allocator, logger);

  const containerLocks = new KeyedLock();
  const everybody = new SharedLock();
  const alone = async <T>(id: string, { signal }: LockOptions, work: () => Promise<T>): Promise<T> => {
    using _shared = await everybody.shared({ signal });
    using _own = await containerLocks.acquire(id, { signal });
    return await work();
  };
  const collector = new Collector({
    attachments,
    links: {
      ...links,
      list: async (prefix) => new Set((await kernel.call('listLinks', prefix)).map(({ name }) => name)),
    },
    containers,
    onLinkRemoved: (link) => {
      for (const address of orphans.get(link) ?? []) allocator.release(address, nowMs());
      orphans.delete(link);
    },
    logger,
  });
  const collect = async (signal?: AbortSignal): Promise<void> => {
    using _all = await everybody.exclusive({ signal });
    await collector.run();
  };
  let firewallFault: Fault | undefined;
  const verify = async (): Promise<void> => {
    try {
      await firewall.verify();
      firewallFault = undefined;
    } catch (error) {
      firewallFault = Fault.from(error);
      throw error;
    }
    await refreshMtu();
    await store.forgetCooling(clock.nowMs() - cooldownMs);
  };

  const tasks = new TaskGroup({ logger });
  const { collectEveryMs = 60_000, verifyEveryMs = 30_000 } = options;
  tasks.run('network-collector', (signal) =>
    every({ name: 'network-collector', everyMs: collectEveryMs, signal }, collect, { logger, clock }),
  );
  tasks.run('network-firewall', (signal) =>
    every({ name: 'network-firewall', everyMs: verifyEveryMs, signal }, verify, { logger, clock }),
  );
  const resources = opening.move();

  return {
    attach: (request, lock = {}) =>
      alone(request.containerId, lock, () => attachments.attach(request, lock.signal)),
    detach: (key, lock = {}) => alone(key.containerId, lock, () => attachments.detach(key)),
    check: (key, netns, lock = {}) =>
      alone(key.containerId, lock, async () => {
        const attachment = await attachments.check(key, netns);
        await firewall.verify();
        return attachment;
      }),
    gc: async (network, valid, lock = {}) => {
      using _all = await everybody.exclusive(lock);
      const keep = new Set(valid.map(attachmentName));
      const faults: Fault[] = [];
      for (const attachment of attachments.list()) {
        if (attachment.network !== network || keep.has(attachmentName(attachment))) continue;
        await attachments.detach(attachment).catch((error: unknown) => void faults.push(Fault.from(error)));
      }
      const [first] = faults;
      if (first !== undefined) {
        throw new Fault(first.kind, `${faults.length} attachments could not be removed: ${first.message}`, {
          cause: first,
        });
      }
    },
    status: () => {
      // Exhaustion is no fault of the node: a full node is healthy, and NotReady would evict its pods.
      if (firewallFault !== undefined) {
        throw new Fault(
          'unavailable',
          `the firewall table of the pod network is not in force: ${firewallFault.message}`,
          {
            cause: firewallFault,
          },
        );
      }
      return { attachments: attachments.list().length, addresses: allocator.counts(nowMs()), mtu };
    },
    list: () => attachments.list(),
    maintain: async () => {
      await collect();
      await verify();
    },
    async [Symbol.asyncDispose]() {
      tasks.stop();
      await tasks.wait();
      await resources.disposeAsync();
    },
  };
}

/** Removes every trace of the network from the node: links, routes, the firewall table and the records. Pods lose their network. */
export async function removeNetwork(
  { stateDir }: Pick<NetworkOptions, 'stateDir'>,
  { logger }: Pick<NetworkDeps, 'logger'>,
): Promise<void> {
  await using kernel = startKernel({ name: 'keelson-net' });
  const links = await kernel.call('listLinks', HOST_LINK_PREFIX);
  await deleteLinks(links.map(({ name }) => name));
  await kernel.call('removeRangeRoutes');
  const nft = { apply: applyNft, list: listNftTable };
  await new Firewall({ ranges: [], exclusions: [] }, { nft, logger, attachments: () => [] }).remove();
  await AttachmentStore.erase(join(stateDir, 'network'));
}

/**
 * Addresses that the node routes to pods but that no record names (it was lost or corrupt) are in use: they are kept from others
 * until their link is gone. Returns them by link.
 */
async function reserveOrphans(
  kernel: Kernel,
  attachments: Attachments,
  allocator: AddressAllocator,
  logger: Logger,
): Promise<Map<string, string[]>> {
  const recorded = new Set(attachments.list().flatMap(({ addresses }) => addresses));
  const orphans = new Map<string, string[]>();
  for (const { address, link } of await kernel.call('listPodRoutes')) {
    if (recorded.has(address)) continue;
    allocator.restore(address);
    orphans.set(link, [...(orphans.get(link) ?? []), address]);
  }
  if (orphans.size > 0) logger.warn({ links: [...orphans.keys()] }, 'links without record found');
  return orphans;
}

function parseMtu(mtu: 'auto' | number, ranges: readonly Cidr[]): number | undefined {
  if (mtu === 'auto') return undefined;
  const least = leastMtu(ranges);
  if (Number.isInteger(mtu) && mtu >= least && mtu <= 65_535) return mtu;
  throw new Fault('invalid', `network.mtu is ${mtu}; give "auto" or a number from ${least} to 65535`, {
    fields: { field: 'network.mtu' },
  });
}

function leastMtu(ranges: readonly Cidr[]): number {
  return MIN_MTU[ranges.some(({ family }) => family === 6) ? 6 : 4];
}
