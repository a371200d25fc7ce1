import { randomInt } from 'node:crypto';
import {
  type Attachment,
  type AttachmentKey,
  attachmentName,
  describeAttachment,
  type PodIdentity,
  type PortMapping,
} from '../../src/core/network/attachment.ts';
import { Fault, isFault } from '../../src/core/fault.ts';
import type { AddressAllocator } from '../../src/core/network/ipam.ts';
import {
  findLinkDrift,
  GATEWAY_MAC,
  hostLinkName,
  type LinkObservation,
  type LinkPlan,
  podMac,
} from '../../src/core/network/link-plan.ts';
import { checkHostPorts } from '../../src/core/network/nft-network.ts';

export interface AttachRequest extends AttachmentKey {
  readonly network: string;
  readonly netns: string;
  /** Addresses that the pod must have. */
  readonly addresses?: readonly string[];
  readonly mac?: string | undefined;
  readonly portMappings?: readonly PortMapping[];
  readonly pod?: PodIdentity | undefined;
}

/** Makes, reads and removes links in the kernel. */
export interface Links {
  attach(plan: LinkPlan): Promise<void>;
  /** False when there is none. */
  remove(name: string): Promise<boolean>;
  observe(link: { netns: string; hostName: string; podName: string }): Promise<LinkObservation>;
  /** Identifies the namespace at a path while it lives; undefined when none is there. */
  netnsId(path: string): Promise<string | undefined>;
}

/** Keeps records over a restart of the agent. */
export interface Records {
  save(attachment: Attachment): Promise<void>;
  remove(attachment: Attachment, options: { readonly resting: boolean }): Promise<void>;
}

/** Opens and closes host ports. */
export interface HostPorts {
  open(attachment: Attachment): Promise<void>;
  close(attachment: Attachment): Promise<void>;
}

export interface AttachmentsDeps {
  readonly links: Links;
  readonly records: Records;
  readonly hostPorts: HostPorts;
  readonly allocator: AddressAllocator;
  /** A clock that never goes back. */
  readonly nowMs: () => number;
  readonly mtu: () => number;
  /** Told of an attachment that is not listed any more. */
  readonly onForgotten?: (attachment: Attachment) => void;
}

const INDEX_ATTEMPTS = 4;

/** Pod interfaces. Knows nothing of locks: two operations on one container must not overlap (see `openNetwork`). */
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

  /** Those that are, or are being made. */
  list(): readonly Attachment[] {
    return [...this.#living.values()];
  }

  get(key: AttachmentKey): Attachment | undefined {
    return this.#living.get(attachmentName(key));
  }

  /**
   * Gives a pod its interface; undoes itself when it fails or when `signal` aborts before the end. Throws `conflict` when the
   * interface, an address or a host port is taken, `not-found` without a namespace, `exhausted` without an address.
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
    // Crash windows: after the record, the agent's collector finds it without a link; after the link, DEL or the collector finds both.
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

  /** Removes whatever is left of an attachment; without a record, the link that it would have had. Repeatable. */
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
      // Not finished: the next DEL, or the collector, must find it again.
      this.#living.set(attachmentName(key), attachment);
      throw error;
    }
    this.#forget(attachment, { resting: true });
  }

  /** Throws `not-found` without a record, `precondition` naming every difference between what was made and what is there. */
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
        `${describeAttachment(attachment)} is not connected as it was: ${drift.join('; ')}; recreate the pod`,
      );
    }
    return attachment;
  }

  /** An attachment of the same name stands in the way, unless its namespace has gone. */
  async #clearEarlier(request: AttachRequest): Promise<void> {
    const earlier = this.get(request);
    if (earlier === undefined) return;
    if ((await this.#deps.links.netnsId(earlier.netns)) === earlier.netnsId) {
      throw new Fault(
        'conflict',
        `interface ${request.ifname} of ${describeAttachment(earlier)} is attached already; remove it first`,
        { fields: { containerId: request.containerId, ifname: request.ifname } },
      );
    }
    await this.detach(request);
  }

  /** Everything that must not be given twice is taken here, with no await in between. */
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
        // An index was taken: others are free. A name was taken: a stale link of ours may go, an interface of the pod may not.
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
