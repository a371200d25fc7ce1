import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attachment,
  type AttachmentKey,
  attachmentName,
  describeAttachment,
} from '../../src/core/network/attachment.ts';
import { type Cidr, cidrContains, formatCidr, parseAddress, parseCidr } from '../../src/core/network/cidr.ts';
import { Fault } from '../../src/core/fault.ts';
import { AddressAllocator, type AddressCounts } from '../../src/core/network/ipam.ts';
import { parseCidrs, parsePodRanges } from '../../src/core/network/ipam-ranges.ts';
import type { Peer } from '../../src/core/network/peer-routes.ts';
import { leastMtu, parseMtu } from '../../src/core/network/pod-mtu.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { every } from '../../src/runtime/interval.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { TaskGroup } from '../../src/runtime/task-group.ts';
import { type Kernel, startKernel } from '../linux/kernel/kernel.ts';
import { deleteLinks } from '../linux/net/link-deletion.ts';
import { readNetnsId } from '../linux/net/netns.ts';
import { applyNft, listNftTable } from '../linux/net/nft.ts';
import { Attachments, type AttachRequest, type Links } from './attachments/attachments.ts';
import { Collector } from './collection/collector.ts';
import { Firewall } from './datapath/firewall.ts';
import { LinkReaper } from './datapath/link-reaper.ts';
import { reserveOrphans } from './addresses/orphan-addresses.ts';
import { PeerRoutes } from './datapath/peer-routes.ts';
import { type LockOptions, SharedLock } from './attachments/shared-lock.ts';
import { AttachmentStore } from './attachments/attachment-store.ts';

export interface NetworkOptions {
  /** On tmpfs; the network keeps its records in `network` below it. */
  readonly stateDir: string;
  /**
   * Pod ranges: at least one of IPv4; pods get an IPv6 address too when there is a range for it.
   * Empty while unknown: pods wait for `configure`.
   */
  readonly ranges: readonly string[];
  /** `auto`: MTU of the link of the default route, read periodically. */
  readonly mtu?: 'auto' | number;
  /** Destinations that see a pod's own address instead of the node's. */
  readonly masqueradeExclusions?: readonly string[];
  /** Cooldown of a released address. */
  readonly cooldownMs?: number;
  /** Interval of leak detection; what two rounds in a row find is removed. */
  readonly collectEveryMs?: number;
  /** Interval of firewall checks. */
  readonly verifyEveryMs?: number;
  /** Interval of checks of the routes to other nodes. */
  readonly verifyRoutesEveryMs?: number;
}

/** Settings that may change while pods run. */
export interface NetworkSettings {
  /** As in NetworkOptions. Pods with an address of former ranges keep it. */
  readonly ranges: readonly string[];
  /** Other nodes, whose pods are routed to and see the addresses of this node's pods. */
  readonly peers: readonly Peer[];
  /** Destinations that see a pod's own address, besides those of the options. */
  readonly exclusions: readonly string[];
}

export interface NetworkDeps {
  readonly logger: Logger;
  /** Reads and changes links. Absent: a worker of the network's own. */
  readonly kernel?: Kernel;
  readonly clock?: Clock;
  /** IDs of the runtime's containers; undefined when it is unavailable. Absent: never available. */
  readonly containers?: () => Promise<ReadonlySet<string> | undefined>;
  /**
   * Called when `measure` has other strays or unreachable ranges, and when `status` begins or
   * ceases to throw. Must not throw.
   */
  readonly onStatus?: () => void;
}

export interface NetworkStatus {
  readonly attachments: number;
  /** Empty while the node has no ranges. */
  readonly addresses: readonly AddressCounts[];
  readonly mtu: number;
  readonly ranges: readonly string[];
  /** Attached pods with an address outside the current ranges. */
  readonly strays: readonly string[];
  /** Ranges of other nodes that are unreachable, and why. */
  readonly unreachable: readonly string[];
}

/**
 * The pod network of this node. Disposing stops the agent's work on it and leaves every pod
 * connected.
 */
export interface Network extends AsyncDisposable {
  /**
   * Attaches a pod; see `Attachments.attach` for its faults. Undone when `signal` aborts before it
   * returns.
   */
  attach(request: AttachRequest, options?: LockOptions): Promise<Attachment>;
  /** Detaches it; also when the namespace, the link or the record no longer exists. */
  detach(key: AttachmentKey, options?: LockOptions): Promise<void>;
  /** Throws `precondition` when the interface differs from its record. */
  check(key: AttachmentKey, netns: string, options?: LockOptions): Promise<Attachment>;
  /**
   * Removes every attachment of `network` that `valid` does not list; continues after a failure and
   * then reports it.
   */
  gc(network: string, valid: readonly AttachmentKey[], options?: LockOptions): Promise<void>;
  /** Throws `unavailable` when no pod can be attached for a reason that affects the whole node. */
  status(): NetworkStatus;
  /** As `status`, but never throws. */
  measure(): NetworkStatus;
  /**
   * Applies other settings; equal ones are left alone. Continues after a failure and then reports
   * it.
   */
  configure(settings: NetworkSettings): Promise<void>;
  list(): readonly Attachment[];
  /** Looks for leaks and checks the firewall table now, as the periodic work does. */
  maintain(): Promise<void>;
}

const DEFAULT_MTU = 1500;
const DEFAULT_COOLDOWN_MS = 120_000;

/**
 * Opens the network: drops the state of an earlier boot, takes over attachments, and applies the
 * firewall table.
 */
export async function openNetwork(options: NetworkOptions, deps: NetworkDeps): Promise<Network> {
  const { logger, clock = systemClock, containers = () => Promise.resolve(undefined) } = deps;
  const { onStatus = () => undefined } = deps;
  let ranges = parseRanges('network.ranges', options.ranges);
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
      onForgotten: (attachment) => {
        if (isStray(attachment, ranges)) onStatus();
      },
    },
    stored.attachments,
  );
  const firewall: Firewall = new Firewall(
    { ranges, exclusions },
    { nft: { apply: applyNft, list: listNftTable }, logger, attachments: () => attachments.list() },
  );

  const routes = new PeerRoutes({
    table: {
      read: () => kernel.call('readPeerRoutes'),
      change: (plan) => kernel.call('changePeerRoutes', plan),
    },
    logger,
    onProblems: onStatus,
  });

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
    const failedBefore = firewallFault !== undefined;
    try {
      await firewall.verify();
      firewallFault = undefined;
      if (failedBefore) onStatus();
    } catch (error) {
      firewallFault = Fault.from(error);
      if (!failedBefore) onStatus();
      throw error;
    }
    await refreshMtu();
    await store.forgetCooling(clock.nowMs() - cooldownMs);
  };

  const settling = new KeyedLock<'settings'>();
  const ensureRoutes = (): Promise<void> => settling.run('settings', () => routes.ensure());
  const configure = async (settings: NetworkSettings): Promise<void> => {
    const wanted = parseRanges('ranges of this node', settings.ranges);
    const apart = parseCidrs('masqueradeExclusions', [
      ...settings.exclusions,
      ...settings.peers.flatMap((peer) => peer.ranges.filter((range) => parseCidr(range) !== undefined)),
    ]);
    const others = wanted.map(formatCidr).join() !== ranges.map(formatCidr).join();
    if (others) {
      logger.info({ ranges: settings.ranges, former: ranges.map(formatCidr) }, 'pods get other addresses');
    }
    ranges = wanted;
    allocator.setRanges(ranges);
    if (others) onStatus();
    routes.set({ peers: settings.peers, ranges });
    // Each is repeated by the periodic work, or by the next call, until it succeeds.
    const results = await Promise.allSettled([
      kernel.call('ensureForwarding', ranges).then(ensureRoutes),
      firewall.configure({ ranges, exclusions: [...exclusions, ...apart] }),
    ]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  };
  const measure = (): NetworkStatus => ({
    attachments: attachments.list().length,
    addresses: allocator.counts(nowMs()),
    mtu,
    ranges: ranges.map(formatCidr),
    strays: attachments
      .list()
      .filter((attachment) => isStray(attachment, ranges))
      .map(describeAttachment),
    unreachable: routes.problems,
  });

  const tasks = new TaskGroup({ logger });
  const { collectEveryMs = 60_000, verifyEveryMs = 30_000, verifyRoutesEveryMs = 2_000 } = options;
  tasks.run('network-collector', (signal) =>
    every({ name: 'network-collector', everyMs: collectEveryMs, signal }, collect, { logger, clock }),
  );
  tasks.run('network-firewall', (signal) =>
    every({ name: 'network-firewall', everyMs: verifyEveryMs, signal }, verify, { logger, clock }),
  );
  tasks.run('network-routes', (signal) =>
    every({ name: 'network-routes', everyMs: verifyRoutesEveryMs, signal }, ensureRoutes, { logger, clock }),
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
        throw new Fault(first.kind, `cannot remove ${faults.length} attachments: ${first.message}`, {
          cause: first,
        });
      }
    },
    status: () => {
      // Exhaustion is not a fault of the node: a full node is healthy, and NotReady would evict its
      // pods.
      if (firewallFault !== undefined) {
        throw new Fault(
          'unavailable',
          `the firewall table of the pod network is not applied: ${firewallFault.message}`,
          {
            cause: firewallFault,
          },
        );
      }
      if (ranges.length === 0) {
        throw new Fault(
          'unavailable',
          'this node has no pod address range yet: its Node has no spec.podCIDRs, or the API server is unreachable',
        );
      }
      return measure();
    },
    measure,
    configure,
    list: () => attachments.list(),
    maintain: async () => {
      await collect();
      await verify();
      await ensureRoutes();
    },
    async [Symbol.asyncDispose]() {
      tasks.stop();
      await tasks.wait();
      await resources.disposeAsync();
    },
  };
}

/** Empty while unknown. */
function parseRanges(field: string, texts: readonly string[]): readonly Cidr[] {
  return texts.length === 0 ? [] : parsePodRanges(field, texts);
}

function isStray({ addresses }: Attachment, ranges: readonly Cidr[]): boolean {
  return addresses.some((address) => !isWithin(address, ranges));
}

function isWithin(text: string, ranges: readonly Cidr[]): boolean {
  const address = parseAddress(text);
  return address !== undefined && ranges.some((range) => cidrContains(range, address));
}
