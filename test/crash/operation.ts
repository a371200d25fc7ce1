import type { Form, Scene } from './scene.ts';

/** An operation of a caller, which repeats it until it succeeds. */
export interface Operation {
  /** Absent: for every form. */
  readonly isFor?: (form: Form) => boolean;
  /** Ensures the preconditions. */
  prepare?(scene: Scene): Promise<unknown>;
  run(scene: Scene): Promise<unknown>;
  /** Throws unless the acknowledged state is reached. */
  check(scene: Scene): Promise<void>;
  /** Removes what the operation created. */
  undo?(scene: Scene): Promise<unknown>;
}
