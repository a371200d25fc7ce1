import { isFault } from '../core/fault.ts';
import type { KubeClient } from '../kube/client.ts';
import type { KubeObject, Resource } from '../kube/resource.ts';
import { type Clock, sleep } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';

export interface ServedKindsDeps {
  readonly client: Pick<KubeClient, 'list'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Kinds that are not there yet are looked for again after this. */
const LOOK_MS = 10_000;

/** Resolves when the cluster serves all of these; says once, as `what`, that it waits. */
export async function untilServed(
  resources: readonly Resource<KubeObject>[],
  what: string,
  { client, logger, clock }: ServedKindsDeps,
  signal: AbortSignal,
): Promise<void> {
  let isTold = false;
  for (const resource of resources) {
    while (!(await isServed(resource, client, signal))) {
      if (!isTold) logger.info({ missing: resource.plural, what }, 'the cluster does not serve a kind');
      isTold = true;
      await sleep(LOOK_MS, { signal, clock });
    }
  }
}

async function isServed(
  resource: Resource<KubeObject>,
  client: Pick<KubeClient, 'list'>,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await client.list(resource, { limit: 1, signal });
    return true;
  } catch (error) {
    // Whatever else is wrong, informers say it and try again.
    return !isFault(error, 'not-found');
  }
}
