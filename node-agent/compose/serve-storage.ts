import { Fault, isFault } from '../../src/core/fault.ts';
import { retry } from '../../src/runtime/retry.ts';
import type { ClusterMember } from '../kube/cluster-member.ts';
import { startKernel } from '../linux/kernel/kernel.ts';
import { openStorage, type Storage } from '../storage/open-storage.ts';
import { type AgentOptions, type PartDeps, socketsOf } from './agent-options.ts';
import type { AgentState } from './agent-state.ts';
import { collectEphemerals, collectOrphans } from './collect-garbage.ts';
import { registerDriver, serveCsi } from './serve-csi.ts';

/** Back-off of attempts to read unreadable records. Pools are retried separately. */
const REOPEN = { baseMs: 1_000, maxMs: 30_000 };

type StorageMember = Pick<
  ClusterMember,
  'storageOpened' | 'storageChanged' | 'readinessChanged' | 'known' | 'confirm'
>;

/**
 * Opens the pools, as many as possible, serves CSI and removes garbage, until the signal aborts.
 */
export async function runStorage(
  options: AgentOptions,
  deps: PartDeps & { readonly state: AgentState; readonly member: StorageMember | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { state, member, metrics } = deps;
  const { config } = options;
  const endpoint = socketsOf(config).csi;
  const logger = deps.logger.child({ component: 'storage' });
  const setFault = (fault: Fault | undefined): void => {
    state.storageFault = fault;
    member?.readinessChanged();
  };
  const onChange = (): void => member?.storageChanged();
  await using parts = new AsyncDisposableStack();
  const storage = await openPatiently(options, { logger, metrics }, { setFault, onChange, signal }, parts);
  storage.pools.onChange(onChange);
  state.storage = storage;
  member?.storageOpened(storage);
  await collectEphemerals(config, { storage, logger });
  parts.use(await serveCsi({ ...options, endpoint }, { logger: deps.logger, metrics, storage }));
  logger.info({ socket: endpoint, pools: config.pools.map(({ name }) => name) }, 'serving CSI');
  let isRefused = false;
  if (config.kubeletDir !== undefined) {
    const registration = await registerDriver(
      { kubeletDir: config.kubeletDir, endpoint },
      { logger },
      (reason) => {
        isRefused = true;
        setFault(new Fault('precondition', `kubelet refused the CSI driver: ${reason}`));
      },
    );
    parts.use(registration);
  }
  if (!isRefused) setFault(undefined);
  await Promise.all([storage.run(signal), collectOrphans(config, storage, member, deps, signal)]);
}

/** Retries until the storage opens; rejects for a fault that time does not resolve. */
async function openPatiently(
  { config }: AgentOptions,
  { logger, metrics }: PartDeps,
  {
    setFault,
    onChange,
    signal,
  }: {
    readonly setFault: (fault: Fault) => void;
    readonly onChange: () => void;
    readonly signal: AbortSignal;
  },
  parts: AsyncDisposableStack,
): Promise<Storage> {
  const { stateDir, pools, trashBytesPerSecond } = config;
  const kernel = parts.use(startKernel({ name: 'keelson-fs' }));
  const storage = await retry(
    () =>
      openStorage(
        { stateDir, pools, trashBytesPerSecond },
        { kernel, logger, metrics, onUsageChange: onChange },
      ),
    {
      ...REOPEN,
      signal,
      shouldRetry(error) {
        const fault = Fault.from(error);
        setFault(fault);
        if (isFault(error, 'invalid') || fault.kind === 'bug') return false;
        logger.error({ err: fault, ...fault.fields }, 'cannot open the storage, will retry');
        return true;
      },
    },
  );
  return parts.use(storage);
}
