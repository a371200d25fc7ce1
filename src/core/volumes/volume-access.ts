import { Fault } from '../fault.ts';
import { parseMountOptions } from './mount-options.ts';
import type { Publication } from './volume.ts';

/** Attributes of a mount, as for mount_setattr(2). */
export interface MountPlan {
  readonly readonly: boolean;
  readonly set: bigint;
  readonly clear: bigint;
}

const RDONLY = 0x1n;
const ATIME_MASK = 0x70n;

/** Attributes that each option sets and clears. */
const OPTIONS: Readonly<Record<string, { readonly set: bigint; readonly clear: bigint }>> = {
  ro: { set: RDONLY, clear: 0n },
  rw: { set: 0n, clear: 0n },
  nosuid: { set: 0x2n, clear: 0n },
  suid: { set: 0n, clear: 0x2n },
  nodev: { set: 0x4n, clear: 0n },
  dev: { set: 0n, clear: 0x4n },
  noexec: { set: 0x8n, clear: 0n },
  exec: { set: 0n, clear: 0x8n },
  noatime: { set: 0x10n, clear: ATIME_MASK },
  relatime: { set: 0n, clear: ATIME_MASK },
  strictatime: { set: 0x20n, clear: ATIME_MASK },
  nodiratime: { set: 0x80n, clear: 0n },
  diratime: { set: 0n, clear: 0x80n },
};

/**
 * Plans the attributes of mount options; a later option overrides an earlier one. A context is
 * ignored: it applies to the file system. Throws `invalid` for an unknown option.
 */
export function planMount(flags: readonly string[], readonly: boolean): MountPlan {
  let set = 0n;
  let clear = 0n;
  for (const flag of parseMountOptions(flags).own) {
    const option = Object.hasOwn(OPTIONS, flag) ? OPTIONS[flag] : undefined;
    if (option === undefined) {
      throw new Fault(
        'invalid',
        `mount option ${JSON.stringify(flag)} is not supported; expected ${Object.keys(OPTIONS).join(', ')}, or context for a volume with its own file system`,
      );
    }
    if (flag === 'rw') set &= ~RDONLY;
    set = (set & ~option.clear) | option.set;
    clear = (clear & ~option.set) | option.clear;
  }
  if (readonly) set |= RDONLY;
  return { readonly: (set & RDONLY) !== 0n, set, clear };
}

/** Whether a publication is new or a repetition. */
export type PublishDecision = 'publish' | 'already-published';

/**
 * Decides whether a publication is new. Throws `conflict` if the target is published in another
 * way, `precondition` if SINGLE_NODE_SINGLE_WRITER excludes it.
 */
export function decidePublish(published: readonly Publication[], requested: Publication): PublishDecision {
  const same = published.find(({ target }) => target === requested.target);
  if (same !== undefined) {
    if (
      same.readonly === requested.readonly &&
      same.accessMode === requested.accessMode &&
      sameFlags(same, requested)
    ) {
      return 'already-published';
    }
    throw new Fault(
      'conflict',
      `the volume is published at ${requested.target} with another access mode, readonly flag or mount options`,
      {
        fields: { target: requested.target, accessMode: same.accessMode, readonly: same.readonly },
      },
    );
  }
  const alone = [...published, requested].find(
    ({ accessMode }) => accessMode === 'SINGLE_NODE_SINGLE_WRITER',
  );
  const other = published[0];
  if (alone !== undefined && other !== undefined) {
    throw new Fault(
      'precondition',
      `the volume is published at ${other.target}, and SINGLE_NODE_SINGLE_WRITER allows one target only`,
      { fields: { target: requested.target, publishedAt: other.target } },
    );
  }
  return 'publish';
}

/** A context is ignored: it applies to the staged file system. */
function sameFlags(a: Publication, b: Publication): boolean {
  const [own, others] = [parseMountOptions(a.flags).own, parseMountOptions(b.flags).own];
  return own.length === others.length && own.every((option, index) => option === others[index]);
}
