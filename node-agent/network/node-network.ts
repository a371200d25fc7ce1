import {
  type Attachment,
  type AttachmentKey,
  attachmentName,
  describeAttachment,
} from '../../src/core/network/attachment.ts';
import { type Cidr, parseCidr } from '../../src/core/network/cidr.ts';
import { Fault } from '../../src/core/fault.ts';
import type { AddressAllocator } from '../../src/core/network/ipam.ts';
import { parseCidrs } from '../../src/core/network/ipam-ranges.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { Kernel } from '../linux/kernel/kernel.ts';
import type { PodRanges } from './addresses/pod-ranges.ts';
import { AttachmentLocks } from './attachments/attachment-locks.ts';
import type { AttachmentStore } from './attachments/attachment-store.ts';
import type { Attachments, AttachRequest } from './attachments/attachments.ts';
import type { LockOptions } from './attachments/shared-lock.ts';
import type { Collector } from './collection/collector.ts';
import type { Firewall } from './datapath/firewall.ts';
import type { PeerRoutes } from './datapath/peer-routes.ts';
import type { PodMtu } from './datapath/pod-mtu.ts';
import type { AttachmentOperations, NetworkControl, NetworkSettings, NetworkStatus } from './network.ts';

export interface NodeNetworkOptions {
  /** Destinations that see a pod's own address, whatever the settings. */
  readonly exclusions: readonly Cidr[];
  readonly cooldownMs: number;
}

export interface NodeNetworkDeps {
  readonly kernel: Pick<Kernel, 'call'>;
  readonly ranges: PodRanges;
  readonly mtu: PodMtu;
  readonly allocator: AddressAllocator;
  readonly attachments: Attachments;
  readonly firewall: Firewall;
  readonly routes: PeerRoutes;
  readonly collector: Collector;
  readonly store: Pick<AttachmentStore, 'forgetCooling'>;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly onStatus: () => void;
}

/** The operations of an open network; `openNetwork` builds its parts. */
export class NodeNetwork implements AttachmentOperations, NetworkControl {
  readonly #options: NodeNetworkOptions;
  readonly #deps: NodeNetworkDeps;
  readonly #locks = new AttachmentLocks();
  readonly #settling = new KeyedLock<'settings'>();
  #firewallFault: Fault | undefined;

  constructor(options: NodeNetworkOptions, deps: NodeNetworkDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  async attach(request: AttachRequest, lock: LockOptions = {}): Promise<Attachment> {
    return await this.#locks.runFor(request.containerId, lock, () =>
      this.#deps.attachments.attach(request, lock.signal),
    );
  }

  async detach(key: AttachmentKey, lock: LockOptions = {}): Promise<void> {
    await this.#locks.runFor(key.containerId, lock, () => this.#deps.attachments.detach(key));
  }

  async check(key: AttachmentKey, netns: string, lock: LockOptions = {}): Promise<Attachment> {
    return await this.#locks.runFor(key.containerId, lock, async () => {
      const attachment = await this.#deps.attachments.check(key, netns);
      await this.#deps.firewall.verify();
      return attachment;
    });
  }

  async gc(network: string, valid: readonly AttachmentKey[], lock: LockOptions = {}): Promise<void> {
    const { attachments } = this.#deps;
    const keep = new Set(valid.map(attachmentName));
    const faults: Fault[] = [];
    await this.#locks.runExclusive(lock, async () => {
      for (const attachment of attachments.list()) {
        if (attachment.network !== network || keep.has(attachmentName(attachment))) continue;
        await attachments.detach(attachment).catch((error: unknown) => void faults.push(Fault.from(error)));
      }
    });
    const [first] = faults;
    if (first === undefined) return;
    const message = `cannot remove ${faults.length} attachments: ${first.message}`;
    throw new Fault(first.kind, message, { cause: first });
  }

  list(): readonly Attachment[] {
    return this.#deps.attachments.list();
  }

  status(): NetworkStatus {
    // Exhaustion is not a fault of the node: a full node is healthy, and NotReady would evict its
    // pods.
    const fault = this.#firewallFault;
    if (fault !== undefined) {
      const message = `the firewall table of the pod network is not applied: ${fault.message}`;
      throw new Fault('unavailable', message, { cause: fault });
    }
    if (this.#deps.ranges.current.length === 0) {
      throw new Fault(
        'unavailable',
        'this node has no pod address range yet: its Node has no spec.podCIDRs, or the API server is unreachable',
      );
    }
    return this.measure();
  }

  measure(): NetworkStatus {
    const { attachments, allocator, mtu, ranges, routes, clock } = this.#deps;
    const all = attachments.list();
    return {
      attachments: all.length,
      addresses: allocator.counts(clock.monotonicMs()),
      mtu: mtu.current,
      ranges: ranges.texts,
      strays: all.filter((attachment) => ranges.isStray(attachment)).map(describeAttachment),
      unreachable: routes.problems,
    };
  }

  async configure(settings: NetworkSettings): Promise<void> {
    const { kernel, ranges, allocator, firewall, routes, logger, onStatus } = this.#deps;
    const exclusions = parseCidrs('masqueradeExclusions', [
      ...settings.exclusions,
      ...settings.peers.flatMap((peer) => peer.ranges.filter((range) => parseCidr(range) !== undefined)),
    ]);
    const former = ranges.texts;
    const changed = ranges.replace('ranges of this node', settings.ranges);
    if (changed) logger.info({ ranges: settings.ranges, former }, 'pod ranges changed');
    allocator.setRanges(ranges.current);
    if (changed) onStatus();
    routes.set({ peers: settings.peers, ranges: ranges.current });
    // Each is repeated by the periodic work, or by the next call, until it succeeds.
    const results = await Promise.allSettled([
      kernel.call('ensureForwarding', ranges.current).then(() => this.ensureRoutes()),
      firewall.configure({
        ranges: ranges.current,
        exclusions: [...this.#options.exclusions, ...exclusions],
      }),
    ]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async maintain(): Promise<void> {
    await this.collect();
    await this.verify();
    await this.ensureRoutes();
  }

  /** Runs one round of leak detection. */
  async collect(signal?: AbortSignal): Promise<void> {
    await this.#locks.runExclusive({ signal }, () => this.#deps.collector.run());
  }

  /** Checks the firewall table, the MTU and the cooldowns. */
  async verify(): Promise<void> {
    const { firewall, mtu, store, clock, onStatus } = this.#deps;
    const failedBefore = this.#firewallFault !== undefined;
    try {
      await firewall.verify();
      this.#firewallFault = undefined;
      if (failedBefore) onStatus();
    } catch (error) {
      this.#firewallFault = Fault.from(error);
      if (!failedBefore) onStatus();
      throw error;
    }
    await mtu.refresh();
    await store.forgetCooling(clock.nowMs() - this.#options.cooldownMs);
  }

  /** Installs missing routes to other nodes. */
  async ensureRoutes(): Promise<void> {
    await this.#settling.run('settings', () => this.#deps.routes.ensure());
  }
}
