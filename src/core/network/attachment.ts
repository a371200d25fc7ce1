/** One port of the node that leads into a pod. */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly hostPort: number;
  readonly containerPort: number;
  /** A node address in canonical text; absent: all of them. */
  readonly hostIp?: string | undefined;
}

/** What identifies an attachment: a container may have several interfaces. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly ifname: string;
}

export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string | undefined;
}

/** One pod interface, as recorded: enough to check it, to remove it and to make its firewall entries again. */
export interface Attachment extends AttachmentKey {
  /** The CNI network it was made for. */
  readonly network: string;
  /** Path of the pod's namespace when it was attached, and what identified the namespace behind it. */
  readonly netns: string;
  readonly netnsId: string;
  readonly hostLink: string;
  readonly mac: string;
  readonly mtu: number;
  /** Canonical text, one a family, IPv4 first. */
  readonly addresses: readonly string[];
  readonly portMappings: readonly PortMapping[];
  readonly pod?: PodIdentity | undefined;
}

/** A text that two attachments share only if they are the same. No id can contain `/`. */
export function attachmentName({ containerId, ifname }: AttachmentKey): string {
  return `${containerId}/${ifname}`;
}

/** How people know the attachment: by its pod, else by its container. */
export function describeAttachment({ pod, containerId }: Pick<Attachment, 'pod' | 'containerId'>): string {
  return pod === undefined ? `container ${containerId}` : `pod ${pod.namespace}/${pod.name}`;
}
