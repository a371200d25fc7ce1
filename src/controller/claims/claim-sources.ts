import type { Fault } from '../../core/fault.ts';
import type { ClaimView, SourceView } from '../../core/claims/provision.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';

/** What claims start from, by one kind of source or by all of them. */
export interface ClaimSources {
  /** What the claim is to be copied from; a Fault says why it cannot be now, undefined that it is no copy of this kind. */
  find(claim: ClaimView): SourceView | Fault | undefined;
  /** Makes sure that the source stays until the copy is made. Nothing for other claims. Throws `busy` when it does not. */
  protect(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void>;
}

/** Several kinds of sources as one. */
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
