import { type Attachment, attachmentName } from './attachment.ts';

/** The node as seen at one moment at which no attachment was being made or removed. */
export interface NetworkSight {
  readonly attachments: readonly Attachment[];
  /** Names of the node's ends of pod links. */
  readonly links: ReadonlySet<string>;
  /** Attachments (by name) whose namespace is no longer the one they were made in. */
  readonly withoutNetns: ReadonlySet<string>;
  /** Containers that the runtime knows; undefined when nobody could say. */
  readonly containers: ReadonlySet<string> | undefined;
}

/** What nobody uses any more. */
export interface NetworkLeaks {
  readonly attachments: ReadonlySet<string>;
  readonly links: ReadonlySet<string>;
}

export const NO_LEAKS: NetworkLeaks = { attachments: new Set(), links: new Set() };

/**
 * Finds attachments whose namespace is gone and whose container is unknown, or whose link is gone, and links without
 * attachment. Act only on what two sights in a row agree on: one may have been taken in the middle of somebody else's work.
 */
export function findLeaks({ attachments, links, withoutNetns, containers }: NetworkSight): NetworkLeaks {
  const recorded = new Set(attachments.map(({ hostLink }) => hostLink));
  const leaked = attachments.filter((attachment) => {
    if (containers?.has(attachment.containerId) === true) return false;
    return withoutNetns.has(attachmentName(attachment)) || !links.has(attachment.hostLink);
  });
  return { attachments: new Set(leaked.map(attachmentName)), links: links.difference(recorded) };
}

/** The leaks that both sights saw. */
export function confirmLeaks(before: NetworkLeaks, now: NetworkLeaks): NetworkLeaks {
  return {
    attachments: now.attachments.intersection(before.attachments),
    links: now.links.intersection(before.links),
  };
}
