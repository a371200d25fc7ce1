import { randomInt } from 'node:crypto';
import {
  type Attachment,
  type AttachmentKey,
  attachmentName,
  describeAttachment,
  type PodIdentity,
  type PortMapping,
} from '../../../src/core/network/attachment.ts';
import { Fault, isFault } from '../../../src/core/fault.ts';
import type { AddressAllocator } from '../../../src/core/network/ipam.ts';
import {
  findLinkDrift,
  GATEWAY_MAC,
  hostLinkName,
  type LinkObservation,
  type LinkPlan,
  podMac,
} from '../../../src/core/network/link-plan.ts';
import { checkHostPorts } from '../../../src/core/network/nft-network.ts';

export interface AttachRequest extends AttachmentKey {
  readonly network: string;
  readonly netns: string;
  /** Requested addresses. */
  readonly addresses?: readonly string[];
  readonly mac?: string | undefined;
  readonly portMappings?: readonly PortMapping[];
  readonly pod?: PodIdentity | undefined;
}

/** Creates, reads and removes links in the kernel. */
export interface Links {
  attach(plan: LinkPlan): Promise<void>;
  /** Resolves to false when it does not exist. */
  remove(name: string): Promise<boolean>;
  observe(link: { netns: string; hostName: string; podName: string }): Promise<LinkObservation>;
  /** Identifies the namespace at a path for its lifetime; undefined when it does not exist. */
  netnsId(path: string): Promise<string | undefined>;
}

/** Stores records across restarts of the agent. */
interface Records {
  save(attachment: Attachment): Promise<void>;
  remove(attachment: Attachment, options: { readonly resting: boolean }): Promise<void>;
}

/** Opens and closes host ports. */
interface HostPorts {
  open(attachment: Attachment): Promise<void>;
  close(attachment: Attachment): Promise<void>;
}

export interface AttachmentsDeps {
  readonly links: Links;
  readonly records: Records;
  readonly hostPorts: HostPorts;
  readonly allocator: AddressAllocator;
  /** A monotonic clock. */
  readonly nowMs: () => number;
  readonly mtu: () => number;
  /** Called with an attachment that is no longer listed. */
  readonly onForgotten?: (attachment: Attachment) => void;
}

const INDEX_ATTEMPTS = 4;

/**
 * Pod interfaces. It does not lock: two operations on one container must not overlap (see
 * `openNetwork`).
 */
export class Attachments {
  readonly #living = new Map<string, Attachment>();
  readonly #deps: AttachmentsDeps;

  constructor(deps: AttachmentsDeps, restored: readonly Attachment[]) {
    this.#deps = deps;
    for (const attachment of restored) {
      this.#living.set(attachmentName(attachment), attachment);
      for (const address of attachment.addresses) deps.allocator.restore(address);
    }
  }

  /** Attachments that exist, or are being created. */
  list(): readonly Attachment[] {
    return [...this.#living.values()];
  }

  get(key: AttachmentKey): Attachment | undefined {
    return this.#living.get(attachmentName(key));
  }

  /**
   * Attaches a pod; undoes itself when it fails or when `signal` aborts before the end. Throws
   * `conflict` when the interface, an address or a host port is in use, `not-found` without a
   * namespace, `exhausted` without an address.
   */
  async attach(request: AttachRequest, signal?: AbortSignal): Promise<Attachment> {
    const netnsId = await this.#deps.links.netnsId(request.netns);
    if (netnsId === undefined) {
      throw new Fault(
        'not-found',
        `network namespace ${request.netns} of ${describeAttachment(request)} does not exist`,
        {
          fields: { netns: request.netns },
        },
      );
    }
    await this.#clearEarlier(request);
    await using undo = new AsyncDisposableStack();
    const progress = { linked: false };
    const attachment = this.#reserve(request, netnsId);
    undo.defer(() => this.#forget(attachment, { resting: progress.linked }));
    // Crash windows: after the record, the agent's collector finds it without a link; after the
    // link, DEL or the collector finds both.
    undo.defer(() => this.#deps.records.remove(attachment, { resting: progress.linked }));
    await this.#deps.records.save(attachment);
    if (attachment.portMappings.length > 0) {
      undo.defer(() => {
        this.#living.delete(attachmentName(attachment));
        return this.#deps.hostPorts.close(attachment);
      });
      await this.#deps.hostPorts.open(attachment);
    }
    await this.#link(attachment);
    progress.linked = true;
    undo.defer(async () => {
      await this.#deps.links.remove(attachment.hostLink);
    });
    signal?.throwIfAborted();
    undo.move();
    return attachment;
  }

  /**
   * Removes what exists of an attachment; without a record, the link that it would have had.
   * Idempotent.
   */
  async detach(key: AttachmentKey): Promise<void> {
    const attachment = this.get(key);
    if (attachment === undefined) {
      const name = hostLinkName(key.containerId, key.ifname, () => false);
      if (!this.#linkNames().has(name)) await this.#deps.links.remove(name);
      return;
    }
    await this.#deps.links.remove(attachment.hostLink);
    this.#living.delete(attachmentName(key));
    try {
      await this.#deps.hostPorts.close(attachment);
      await this.#deps.records.remove(attachment, { resting: true });
    } catch (error) {
      // Incomplete: the next DEL, or the collector, must find it again.
      this.#living.set(attachmentName(key), attachment);
      throw error;
    }
    this.#forget(attachment, { resting: true });
  }

  /**
   * Throws `not-found` without a record, `precondition` with every difference between the record
   * and the kernel.
   */
  async check(key: AttachmentKey, netns: string): Promise<Attachment> {
    const attachment = this.get(key);
    if (attachment === undefined) {
      throw new Fault('not-found', `interface ${key.ifname} of container ${key.containerId} is not attached`);
    }
    const observed = await this.#deps.links.observe({
      netns,
      hostName: attachment.hostLink,
      podName: attachment.ifname,
    });
    const pod = { name: attachment.ifname, mac: attachment.mac, index: 0 };
    const drift = findLinkDrift({ pod, addresses: attachment.addresses }, observed);
    if (drift.length > 0) {
      throw new Fault(
        'precondition',
        `${describeAttachment(attachment)} differs from its attachment: ${drift.join('; ')}; re-create the pod`,
      );
    }
    return attachment;
  }

  /** An attachment of the same name blocks a new one, unless its namespace no longer exists. */
  async #clearEarlier(request: AttachRequest): Promise<void> {
    const earlier = this.get(request);
    if (earlier === undefined) return;
    if ((await this.#deps.links.netnsId(earlier.netns)) === earlier.netnsId) {
      throw new Fault(
        'conflict',
        `interface ${request.ifname} of ${describeAttachment(earlier)} is already attached; remove it first`,
        { fields: { containerId: request.containerId, ifname: request.ifname } },
      );
    }
    await this.detach(request);
  }

  /** Reserves everything that must be unique, without an await in between. */
  #reserve(request: AttachRequest, netnsId: string): Attachment {
    const { containerId, ifname, network, netns, pod, portMappings = [] } = request;
    checkHostPorts(portMappings, this.#living.values());
    const addresses = this.#deps.allocator.allocate(this.#deps.nowMs(), request.addresses);
    const names = this.#linkNames();
    const attachment: Attachment = {
      containerId,
      ifname,
      network,
      netns,
      netnsId,
      hostLink: hostLinkName(containerId, ifname, (name) => names.has(name)),
      mac: request.mac ?? podMac(containerId, ifname),
      mtu: this.#deps.mtu(),
      addresses,
      portMappings,
      ...(pod === undefined ? {} : { pod }),
    };
    this.#living.set(attachmentName(attachment), attachment);
    return attachment;
  }

  async #link(attachment: Attachment): Promise<void> {
    const { netns, hostLink, ifname, mac, mtu, addresses } = attachment;
    for (let attempt = 1; ; attempt += 1) {
      const [host, pod] = [randomInt(1 << 16, 1 << 30), randomInt(1 << 8, 1 << 16)];
      try {
        await this.#deps.links.attach({
          netns,
          host: { name: hostLink, index: host, mac: GATEWAY_MAC },
          pod: { name: ifname, index: pod, mac },
          mtu,
          alias: `keelson ${describeAttachment(attachment)} ${ifname}`.slice(0, 255),
          addresses,
        });
        return;
      } catch (error) {
        // An index was in use: others are free. A name was in use: a stale link of Keelson may be
        // removed, an interface of the pod may not.
        const again =
          isFault(error, 'busy') || (isFault(error, 'conflict') && (await this.#deps.links.remove(hostLink)));
        if (again && attempt < INDEX_ATTEMPTS) continue;
        if (isFault(error, 'conflict')) {
          throw new Fault(
            'conflict',
            `${describeAttachment(attachment)} already has an interface ${ifname}`,
            {
              cause: error,
            },
          );
        }
        throw error;
      }
    }
  }

  #forget(attachment: Attachment, { resting }: { readonly resting: boolean }): void {
    this.#living.delete(attachmentName(attachment));
    for (const address of attachment.addresses) {
      if (resting) this.#deps.allocator.release(address, this.#deps.nowMs());
      else this.#deps.allocator.cancel(address);
    }
    this.#deps.onForgotten?.(attachment);
  }

  #linkNames(): ReadonlySet<string> {
    return new Set(this.list().map(({ hostLink }) => hostLink));
  }
}
