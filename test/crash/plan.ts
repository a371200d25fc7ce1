import type { Effect } from './effects.ts';

/** One effect of a run, told from others of the same kind by its number from 0. */
export interface Moment extends Effect {
  readonly occurrence: number;
  /** `begun`: right after a program was started, which goes on by itself. */
  readonly when: 'before' | 'begun';
}

/** What a process of a story is told to do, after it has opened the storage. */
export type Task =
  /** Furnishes an empty directory. */
  | { readonly kind: 'furnish' }
  /** Tells all moments of operations, which it does and undoes one after the other. */
  | { readonly kind: 'trace'; readonly operations: readonly string[] }
  /** Finishes what a killed process was about, and is killed itself in another one. */
  | {
      readonly kind: 'die';
      readonly after: string | undefined;
      readonly operation: string;
      readonly at: Moment;
    }
  /** Is killed while it puts right what a killed process left. */
  | { readonly kind: 'die again'; readonly at: Moment }
  /** Finishes what a killed process was about, and checks all that there is and its data. */
  | { readonly kind: 'end'; readonly after: string | undefined }
  /**
   * Checks what is freed little by little, and by the file system only some time after it was asked
   * to.
   */
  | { readonly kind: 'wait for the file system' };

/** What a process says; one that was killed said nothing of its operation. */
export type Said =
  | { readonly kind: 'recovered'; readonly moments: readonly Moment[] }
  | { readonly kind: 'traced'; readonly operation: string; readonly moments: readonly Moment[] }
  | { readonly kind: 'survived' }
  | { readonly kind: 'failed'; readonly error: string }
  | { readonly kind: 'done' };

/** How a moment is told from others that do the same at the same place. */
export function keyOf({ name, frames, when }: Omit<Moment, 'occurrence'>): string {
  return [when, name, ...frames].join(' < ');
}
