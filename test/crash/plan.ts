import type { Effect } from './effects.ts';

/** One effect of a run; `occurrence` counts equal ones from 0. */
export interface Moment extends Effect {
  readonly occurrence: number;
  /** `begun`: right after a program was started, which continues on its own. */
  readonly when: 'before' | 'begun';
}

/** The task of a process of a story, after it has opened the storage. */
export type Task =
  /** Creates the initial data in an empty directory. */
  | { readonly kind: 'furnish' }
  /** Reports all moments of operations, which it runs and undoes one by one. */
  | { readonly kind: 'trace'; readonly operations: readonly string[] }
  /** Finishes the operation of a killed process, and is killed in another one. */
  | {
      readonly kind: 'die';
      readonly after: string | undefined;
      readonly operation: string;
      readonly at: Moment;
    }
  /** Is killed during recovery after a killed process. */
  | { readonly kind: 'die again'; readonly at: Moment }
  /** Finishes the operation of a killed process, and checks everything and its data. */
  | { readonly kind: 'end'; readonly after: string | undefined }
  /** Checks what is freed asynchronously by collections and by the file system. */
  | { readonly kind: 'wait for the file system' };

/** The output of a process; a killed one does not report its operation. */
export type Said =
  | { readonly kind: 'recovered'; readonly moments: readonly Moment[] }
  | { readonly kind: 'traced'; readonly operation: string; readonly moments: readonly Moment[] }
  | { readonly kind: 'survived' }
  | { readonly kind: 'failed'; readonly error: string }
  | { readonly kind: 'done' };

/** Returns the key of a moment: equal for the same effect at the same place. */
export function keyOf({ name, frames, when }: Omit<Moment, 'occurrence'>): string {
  return [when, name, ...frames].join(' < ');
}
