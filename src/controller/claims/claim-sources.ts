import type { Fault } from '../../core/fault.ts';
import type { ClaimView, SourceView } from '../../core/claims/provision.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';

/** Sources of claims (`dataSource`), of one kind or of all kinds. */
export interface ClaimSources {
  /**
   * Returns the source of the claim; a Fault when the source cannot be used now, undefined when the
   * claim has no source of this kind.
   */
  find(claim: ClaimView): SourceView | Fault | undefined;
  /**
   * Keeps the source until the copy is complete; does nothing for other claims. Throws `busy` when
   * the source is being deleted.
   */
  protect(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void>;
}

/** Combines several kinds of sources. */
export function allSources(...kinds: readonly ClaimSources[]): ClaimSources {
  return {
    find(claim) {
      for (const kind of kinds) {
        const found = kind.find(claim);
        if (found !== undefined) return found;
      }
      return undefined;
    },
    async protect(claim, signal) {
      for (const kind of kinds) await kind.protect(claim, signal);
    },
  };
}
