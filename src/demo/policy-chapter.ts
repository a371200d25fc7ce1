import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../core/fault.ts';
import { retry } from '../runtime/retry.ts';
import type { WrittenVolume } from './pods-chapter.ts';
import { DEMO_POLICY, DENIED_LABEL, POLICY_VARIABLE } from './policy.ts';
import { RELEASE, type Stage } from './stage.ts';

/** A policy file takes effect while pods run: new containers get a variable, pods with a label are denied. */
export async function tellOfPolicy(stage: Stage, { writer }: WrittenVolume): Promise<void> {
  stage.deps.narrator.heading('One runtime policy');
  const { narrator, findings } = stage.deps;
  const before = await narrator.step(
    'a container of a pod, before there is a policy',
    () => variable(stage, writer.containerId),
    (value) => `${POLICY_VARIABLE} is ${value}`,
  );
  await narrator.step(
    'a policy file for the proxy',
    () => writePolicy(stage),
    () => `a variable for every container, no pod with the label ${DENIED_LABEL}`,
  );
  const denial = await narrator.step(
    'RunPodSandbox of a pod with that label is denied',
    () => awaitDenial(stage),
    (message) => message,
  );
  const after = await narrator.step(
    'a new container has the variable',
    async () => {
      const containerId = await stage.startContainer(writer.pod, 'second', undefined);
      return await variable(stage, containerId);
    },
    (value) => `${POLICY_VARIABLE} is ${value}`,
  );
  findings.policy = { variable: POLICY_VARIABLE, before, after, denial };
  if (after === 'unset')
    throw new Fault('precondition', `the policy sets ${POLICY_VARIABLE}, and it is unset`);
}

/** Complete from the first moment, as an editor would save it. */
async function writePolicy(stage: Stage): Promise<void> {
  const file = join(stage.options.layout.policiesDir, 'demo.yaml');
  await writeFile(`${file}~`, DEMO_POLICY);
  await rename(`${file}~`, file);
}

/** The proxy notices the file in a moment; until then such a pod is let through, and taken down again. */
async function awaitDenial(stage: Stage): Promise<string> {
  const { pods } = stage.deps;
  const spec = { ...stage.podSpec('unwanted'), labels: { [DENIED_LABEL]: 'true' } };
  return await retry(
    async () => {
      try {
        const { sandboxId } = await pods.runPod(spec, stage.call());
        await pods.removePod(sandboxId, RELEASE);
      } catch (error) {
        if (isFault(error, 'denied')) return error.message;
        throw error;
      }
      throw new Fault(
        'precondition',
        `the policy denies pods with the label ${DENIED_LABEL}, and one was started`,
      );
    },
    { signal: stage.options.signal, attempts: 10, baseMs: 50, maxMs: 200 },
  );
}

async function variable(stage: Stage, containerId: string): Promise<string> {
  return (await stage.run(containerId, `echo "\${${POLICY_VARIABLE}-unset}"`)).trim();
}
