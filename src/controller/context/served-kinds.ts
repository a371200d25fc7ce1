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

/** Interval of checks for kinds that the cluster does not serve yet. */
const POLL_MS = 10_000;

/** Resolves when the cluster serves all of these; logs once that `what` waits. */
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
        logger.info({ missing: resource.plural, what }, 'waiting for a kind that the cluster does not serve');
        isReported = true;
      }
      await sleep(POLL_MS, { signal, clock });
    }
  }
}

/** Undefined when the API server was unavailable. */
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
    const isUnavailable =
      isFault(error, 'unavailable') || isFault(error, 'timeout') || isFault(error, 'busy');
    // Informers report and retry every other error.
    return isUnavailable ? undefined : true;
  }
}
