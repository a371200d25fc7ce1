import { Fault } from '../../src/core/fault.ts';
import type { KubeClient } from '../../src/kube/client.ts';

/** Kills the process at a write: before it, or after the server has carried it out. */
export type Death = 'before' | 'after';

/**
 * A client on `server` that dies at its `at`th write: that and all later ones reject with `bug`.
 */
export function mortalClient(server: KubeClient, at: number, when: Death): KubeClient {
  let writes = 0;
  const write = async <R>(work: () => Promise<R>): Promise<R> => {
    writes += 1;
    if (writes > at || (writes === at && when === 'before')) throw new Fault('bug', 'killed');
    const result = await work();
    if (writes === at) throw new Fault('bug', 'killed');
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
