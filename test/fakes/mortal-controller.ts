import { Fault, isFault } from '../../src/core/fault.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Informer } from '../../src/kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../src/kube/resource.ts';
import type { FakeApiClient } from './fake-api-client.ts';

/** At which write a controller is killed: before it, or after the server has carried it out. */
export interface Death {
  readonly at: number;
  readonly when: 'before' | 'after';
}

/** The client of a controller that dies so. */
export function mortalClient(server: FakeApiClient, { at, when }: Death): KubeClient {
  let writes = 0;
  const write = async <R>(work: () => Promise<R>): Promise<R> => {
    writes += 1;
    const isLast = writes === at;
    if (isLast && when === 'before') throw new Fault('bug', 'killed');
    const result = await work();
    if (isLast) throw new Fault('bug', 'killed');
    return result;
  };
  return {
    get: (resource, name) => server.get(resource, name),
    list: (resource, options) => server.list(resource, options),
    watch: (...args) => server.watch(...args),
    update: (resource, object, options) => write(() => server.update(resource, object, options)),
    create: (...args) => write(() => server.create(...args)),
    patch: (...args) => write(() => server.patch(...args)),
    delete: (...args) => write(() => server.delete(...args)),
  };
}

/** A kind that a controller follows. */
export type Followed = readonly [
  Resource<KubeObject>,
  Pick<Informer<KubeObject>, 'run' | 'synced' | 'store'>,
];

/** A controller of its own memory, which does all that there is to do once in a round. */
export interface Life {
  readonly informers: readonly Followed[];
  /** Each piece of work of one round. Another one is begun when the one before it has ended. */
  work(signal: AbortSignal): Iterable<Promise<unknown>>;
}

export interface Story {
  readonly server: FakeApiClient;
  readonly startLife: (client: KubeClient) => Life;
  /** What others do after each round. */
  readonly others: () => Promise<void>;
  /** What happens while no controller is there. */
  readonly meanwhile?: (() => Promise<void>) | undefined;
}

/** Lets the controller work until nothing changes any more; another one goes on where one was killed. Tells how many were. */
export async function settle(
  { server, startLife, others, meanwhile }: Story,
  death?: Death,
): Promise<number> {
  using ends = new DisposableStack();
  const begin = (client: KubeClient): (() => Promise<void>) => {
    const end = ends.adopt(new AbortController(), (controller) => controller.abort());
    const life = startLife(client);
    for (const [, informer] of life.informers) void informer.run(end.signal);
    return async () => {
      await catchUp(server, life.informers);
      for (const work of life.work(end.signal)) await survive(work);
    };
  };
  let round = begin(death === undefined ? server : mortalClient(server, death));
  for (let deaths = 0; ; ) {
    const before = server.store.version;
    try {
      await round();
    } catch {
      deaths += 1;
      round = begin(server);
      await meanwhile?.();
      continue;
    }
    await others();
    if (server.store.version === before) return deaths;
  }
}

async function catchUp(server: FakeApiClient, informers: readonly Followed[]): Promise<void> {
  for (const [resource, informer] of informers) {
    await informer.synced();
    while (versions(informer.store.values()) !== versions((await server.list(resource)).items)) {
      await new Promise(setImmediate);
    }
  }
}

function versions(objects: Iterable<KubeObject>): string {
  return [...objects]
    .map((each) => `${keyOf(each)} ${each.metadata?.resourceVersion ?? ''}`)
    .sort()
    .join();
}

/** What fails otherwise than by death is tried again in the next round, as a work queue does. */
async function survive(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (isFault(error, 'bug')) throw error;
  }
}
