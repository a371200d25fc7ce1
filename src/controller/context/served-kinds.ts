import { isFault } from '../../core/fault.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import { type Clock, sleep } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';

export interface ServedKindsDeps {
  readonly client: Pick<KubeClient, 'list'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Kinds that are not there yet are looked for again after this. */
const POLL_MS = 10_000;

/** Resolves when the cluster serves all of these; says once, as `what`, that it waits. */
export async function untilServed(
  resources: readonly Resource<KubeObject>[],
  what: string,
  { client, logger, clock }: ServedKindsDeps,
  signal: AbortSignal,
): Promise<void> {
  let isReported = false;
  for (const resource of resources) {
    for (;;) {
      const isServed = await checkServed(resource, client, signal);
      if (isServed === true) break;
      if (isServed === false && !isReported) {
        logger.info({ missing: resource.plural, what }, 'the cluster does not serve a kind');
        isReported = true;
      }
      await sleep(POLL_MS, { signal, clock });
    }
  }
}

/** Undefined where the server did not say: it was away, or had no time. */
async function checkServed(
  resource: Resource<KubeObject>,
  client: Pick<KubeClient, 'list'>,
  signal: AbortSignal,
): Promise<boolean | undefined> {
  try {
    await client.list(resource, { limit: 1, signal });
    return true;
  } catch (error) {
    if (isFault(error, 'not-found')) return false;
    const isAway = isFault(error, 'unavailable') || isFault(error, 'timeout') || isFault(error, 'busy');
    // Whatever else is wrong, informers say it and try again.
    return isAway ? undefined : true;
  }
}
