import type {
  DeleteOptions,
  KubeClient,
  ListOptions,
  Page,
  Patch,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from '../../src/kube/client.ts';
import { describe as describeCall, patchBody } from '../../src/kube/http-call.ts';
import { type KubeObject, type ObjectName, pathOf, type Resource } from '../../src/kube/resource.ts';
import { statusFault } from '../../src/kube/status-fault.ts';
import { ApiError } from './fake-api-error.ts';
import { FakeApiStore, type FakePatch, type WireEvent } from './fake-api-store.ts';

/**
 * A KubeClient without a network, for unit tests: the state of a FakeApiStore, in the same process.
 */
export class FakeApiClient implements KubeClient {
  readonly store: FakeApiStore;
  readonly calls: string[] = [];
  /** Thrown, once each, by the next calls of that verb. */
  readonly failures: { readonly verb: string; readonly error: Error }[] = [];
  readonly #streams = new Set<(end: Error | undefined) => void>();

  constructor(store: FakeApiStore = new FakeApiStore()) {
    this.store = store;
  }

  get watches(): number {
    return this.#streams.size;
  }

  /** Ends all watches: in order, or with an error. */
  endWatches(error?: Error): void {
    for (const end of [...this.#streams]) end(error);
  }

  async get<T extends KubeObject>(resource: Resource<T>, name: ObjectName): Promise<T> {
    return this.#call('get', resource, () => this.store.get(resource, name)) as T;
  }

  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<Page<T>> {
    const { limit, continue: token } = options;
    return this.#call('list', resource, () => {
      const page = this.store.list(resource, options, { ...(limit === undefined ? {} : { limit }), token });
      return { items: page.items as readonly T[], resourceVersion: page.version, continue: page.token };
    });
  }

  async create<T extends KubeObject>(resource: Resource<T>, object: T, write: WriteOptions = {}): Promise<T> {
    return this.#call('create', resource, () => this.store.create(resource, object, write)) as T;
  }

  async update<T extends KubeObject>(resource: Resource<T>, object: T, write: WriteOptions = {}): Promise<T> {
    return this.#call('update', resource, () => this.store.update(resource, object, write)) as T;
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    patch: Patch,
    write: WriteOptions = {},
  ): Promise<T> {
    return this.#call('patch', resource, () => {
      const { body, fieldManager } = patchBody(patch, resource, name);
      const type = 'apply' in patch ? 'apply' : 'merge' in patch ? 'merge' : 'json';
      const force = 'apply' in patch && patch.force === true;
      const fake = { type, body, force } as FakePatch;
      return this.store.patch(
        resource,
        name,
        fake,
        fieldManager === undefined ? write : { ...write, fieldManager },
      );
    }) as T;
  }

  async delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    { precondition = {} }: DeleteOptions = {},
  ): Promise<void> {
    const { uid, resourceVersion } = precondition;
    const wanted = {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    };
    this.#call('delete', resource, () => this.store.delete(resource, name, wanted));
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    { resourceVersion, signal, ...selection }: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>> {
    const queue: WireEvent[] = [];
    let wake = Promise.withResolvers<undefined>();
    const ended = Promise.withResolvers<undefined>();
    ended.promise.catch(() => undefined);
    using _watching = this.#call('watch', resource, () =>
      this.store.watch(resource, selection, resourceVersion, (event) => {
        queue.push(event);
        wake.resolve(undefined);
      }),
    );
    let over = false;
    const end = (error: Error | undefined): void => {
      over = true;
      if (error === undefined) ended.resolve(undefined);
      else ended.reject(error);
    };
    const abort = (): void => end(signal.reason as Error);
    this.#streams.add(end);
    signal.addEventListener('abort', abort, { once: true });
    try {
      yield { type: 'OPENED' };
      for (;;) {
        for (let event = queue.shift(); event !== undefined; event = queue.shift()) {
          yield { type: event.type as 'ADDED', object: event.object as T };
        }
        if (over) {
          await ended.promise;
          return;
        }
        wake = Promise.withResolvers();
        await Promise.race([wake.promise, ended.promise]);
      }
    } finally {
      this.#streams.delete(end);
      signal.removeEventListener('abort', abort);
    }
  }

  #call<R>(verb: string, resource: Resource<KubeObject>, work: () => R): R {
    this.calls.push(`${verb} ${resource.plural}`);
    const index = this.failures.findIndex((failure) => failure.verb === verb);
    const [failure] = index < 0 ? [] : this.failures.splice(index, 1);
    if (failure !== undefined) throw failure.error;
    try {
      return work();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const request = describeCall({ verb, resource, method: 'GET', path: pathOf(resource, {}) });
      throw statusFault({ request, status: error.status, body: JSON.stringify(error.toStatus()) });
    }
  }
}
