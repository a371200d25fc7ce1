import { showClone } from './clone-scenario.ts';
import { showPods } from './pods-scenario.ts';
import { showPolicy } from './policy-scenario.ts';
import type { DemoSession } from './session.ts';

/** Runs the calls of kubelet and of an orchestrator on a node. Rejects at the first failure. */
export async function runScenario(session: DemoSession): Promise<void> {
  const written = await showPods(session);
  await showClone(session, written);
  await showPolicy(session, written);
}
