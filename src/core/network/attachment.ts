/** A host port of a pod. */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly hostPort: number;
  readonly containerPort: number;
  /** A node address in canonical form; absent: all addresses. */
  readonly hostIp?: string | undefined;
}

/** Identifies an attachment: a container may have several interfaces. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly ifname: string;
}

/** Name and namespace of a pod. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string | undefined;
}

/**
 * One pod interface, as recorded: enough to check it, to remove it and to re-create its firewall
 * entries.
 */
export interface Attachment extends AttachmentKey {
  /** The CNI network that it belongs to. */
  readonly network: string;
  /** Path of the pod's namespace at ADD, and the identity of the namespace. */
  readonly netns: string;
  readonly netnsId: string;
  readonly hostLink: string;
  readonly mac: string;
  readonly mtu: number;
  /** Canonical, one per family, IPv4 first. */
  readonly addresses: readonly string[];
  readonly portMappings: readonly PortMapping[];
  readonly pod?: PodIdentity | undefined;
}

/** Returns a text that is unique to the attachment. IDs cannot contain `/`. */
export function attachmentName({ containerId, ifname }: AttachmentKey): string {
  return `${containerId}/${ifname}`;
}

/** Describes the attachment for messages: by its pod, else by its container. */
export function describeAttachment({ pod, containerId }: Pick<Attachment, 'pod' | 'containerId'>): string {
  return pod === undefined ? `container ${containerId}` : `pod ${pod.namespace}/${pod.name}`;
}
