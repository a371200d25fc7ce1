import { Fault } from '../../src/core/fault.ts';
import type { AdminRoute } from '../../src/runtime/admin-server.ts';
import type { TransferService } from '../storage/transfers/volume-transfers.ts';

/** Serves `keelson volume export` and `import` on the admin socket. */
export function createVolumeStreamRoute({
  storage,
}: {
  /** Undefined until pools are open. */
  readonly storage: () => { readonly transfers: TransferService } | undefined;
}): AdminRoute {
  const transfers = (): TransferService => {
    const found = storage()?.transfers;
    if (found !== undefined) return found;
    throw new Fault('unavailable', 'the pools of this node are being opened; try again');
  };
  const wanted = (query: URLSearchParams, key: string): string => {
    const value = query.get(key) ?? '';
    if (value === '') throw new Fault('invalid', `${key} is missing`);
    return value;
  };
  return {
    async get({ query, signal }) {
      const source = wanted(query, 'source');
      const exported = await transfers().export({
        source,
        parent: query.get('parent') ?? undefined,
        signal,
      });
      return { type: 'application/octet-stream', content: exported.chunks(), close: exported };
    },
    async post({ query, body, signal }) {
      const volume = await transfers().import({
        name: wanted(query, 'name'),
        pool: query.get('pool') ?? undefined,
        keepBase: query.get('keepBase') === 'true',
        input: body,
        signal,
      });
      const { id, name, pool, sizeBytes } = volume;
      return { id, name, pool, sizeBytes: String(sizeBytes) };
    },
  };
}
