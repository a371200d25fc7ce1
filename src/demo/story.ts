import { tellOfClone } from './clone-chapter.ts';
import { tellOfPods } from './pods-chapter.ts';
import { tellOfPolicy } from './policy-chapter.ts';
import type { Stage } from './stage.ts';

/** What an orchestrator would do with a node, step by step. Stops at the first thing that is not as it should be. */
export async function tellStory(stage: Stage): Promise<void> {
  const written = await tellOfPods(stage);
  await tellOfClone(stage, written);
  await tellOfPolicy(stage, written);
}
