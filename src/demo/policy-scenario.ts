import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../core/fault.ts';
import { retry } from '../runtime/retry.ts';
import type { WrittenVolume } from './pods-scenario.ts';
import { DEMO_POLICY, DENIED_LABEL, POLICY_VARIABLE } from './policy.ts';
import { RELEASE, type DemoSession } from './session.ts';

/** Applies a RuntimePolicy to running pods: it sets a variable and denies pods with a label. */
export async function showPolicy(session: DemoSession, { writer }: WrittenVolume): Promise<void> {
  session.deps.progress.heading('A runtime policy');
  const { progress, findings } = session.deps;
  const before = await progress.step(
    'read the variable in a container without a policy',
    () => variable(session, writer.containerId),
    (value) => `${POLICY_VARIABLE} is ${value}`,
  );
  await progress.step(
    'write a policy file for the proxy',
    () => writePolicy(session),
    () => `sets a variable in containers, denies pods with label ${DENIED_LABEL}`,
  );
  const denial = await progress.step(
    'RunPodSandbox of a pod with that label is denied',
    () => awaitDenial(session),
    (message) => message,
  );
  const after = await progress.step(
    'read the variable in a new container',
    async () => {
      const containerId = await session.startContainer(writer.pod, 'second', undefined);
      return await variable(session, containerId);
    },
    (value) => `${POLICY_VARIABLE} is ${value}`,
  );
  findings.policy = { variable: POLICY_VARIABLE, before, after, denial };
  if (after === 'unset')
    throw new Fault('precondition', `the policy sets ${POLICY_VARIABLE}, but it is unset in the container`);
}

/** Renames a complete file, as editors do. */
async function writePolicy(session: DemoSession): Promise<void> {
  const file = join(session.options.layout.policiesDir, 'demo.yaml');
  await writeFile(`${file}~`, DEMO_POLICY);
  await rename(`${file}~`, file);
}

/** The proxy reads the file with a delay; a pod admitted before is removed again. */
async function awaitDenial(session: DemoSession): Promise<string> {
  const { pods } = session.deps;
  const spec = { ...session.podSpec('unwanted'), labels: { [DENIED_LABEL]: 'true' } };
  return await retry(
    async () => {
      try {
        const { sandboxId } = await pods.runPod(spec, session.call());
        await pods.removePod(sandboxId, RELEASE);
      } catch (error) {
        if (isFault(error, 'denied')) return error.message;
        throw error;
      }
      throw new Fault('precondition', `a pod with label ${DENIED_LABEL} started despite the policy`);
    },
    { signal: session.options.signal, attempts: 10, baseMs: 50, maxMs: 200 },
  );
}

async function variable(session: DemoSession, containerId: string): Promise<string> {
  return (await session.run(containerId, `echo "\${${POLICY_VARIABLE}-unset}"`)).trim();
}
