import { type Attachment, attachmentName } from './attachment.ts';

/** State of the node at a moment at which no attachment was being added or removed. */
export interface NetworkSight {
  readonly attachments: readonly Attachment[];
  /** Names of the node's ends of pod links. */
  readonly links: ReadonlySet<string>;
  /** Attachments (by name) whose namespace is not the one they were created in. */
  readonly withoutNetns: ReadonlySet<string>;
  /** Containers of the runtime; undefined when it could not be asked. */
  readonly containers: ReadonlySet<string> | undefined;
}

/** Resources that are no longer used. */
export interface NetworkLeaks {
  readonly attachments: ReadonlySet<string>;
  readonly links: ReadonlySet<string>;
}

/** The result without leaks. */
export const NO_LEAKS: NetworkLeaks = { attachments: new Set(), links: new Set() };

/**
 * Finds attachments without a namespace and a container, or without a link, and links without an
 * attachment. Only act on what two observations in a row agree on: one may have been taken in the
 * middle of another operation.
 */
export function findLeaks({ attachments, links, withoutNetns, containers }: NetworkSight): NetworkLeaks {
  const recorded = new Set(attachments.map(({ hostLink }) => hostLink));
  const leaked = attachments.filter((attachment) => {
    if (containers?.has(attachment.containerId) === true) return false;
    return withoutNetns.has(attachmentName(attachment)) || !links.has(attachment.hostLink);
  });
  return { attachments: new Set(leaked.map(attachmentName)), links: links.difference(recorded) };
}

/** Returns the leaks of both observations. */
export function confirmLeaks(before: NetworkLeaks, now: NetworkLeaks): NetworkLeaks {
  return {
    attachments: now.attachments.intersection(before.attachments),
    links: now.links.intersection(before.links),
  };
}
