import type { Form, Scene } from './scene.ts';

/** Something that a caller asks for, and repeats until it is done. */
export interface Operation {
  /** Absent: with every form. */
  readonly isFor?: (form: Form) => boolean;
  /** Ensures what has to be there before. */
  prepare?(scene: Scene): Promise<unknown>;
  run(scene: Scene): Promise<unknown>;
  /** Throws unless what was acknowledged is so. */
  check(scene: Scene): Promise<void>;
  /** Takes away what it has brought. */
  undo?(scene: Scene): Promise<unknown>;
}
