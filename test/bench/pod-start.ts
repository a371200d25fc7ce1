import { PERSISTENT_VOLUME_CLAIMS, type Pod, PODS } from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer } from '../../src/kube/informer.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { Fault } from '../../src/core/fault.ts';
import { raceSignal } from '../../src/runtime/signals.ts';

export interface PodStartOptions {
  readonly namespace: string;
  readonly image: string;
  readonly rounds: number;
  /** Each in turn, in every round; undefined: a pod without a volume. */
  readonly classes: readonly (string | undefined)[];
}

const STARTS_WITHIN_MS = 120_000;

/**
 * Milliseconds from the creation of a pod (and of its claim before it) until its container runs, by
 * class. The first round warms up.
 */
export async function benchPodStart(
  { namespace, image, rounds, classes }: PodStartOptions,
  client: KubeClient,
): Promise<ReadonlyMap<string | undefined, readonly number[]>> {
  const times = new Map<string | undefined, number[]>(classes.map((name) => [name, []]));
  const stop = new AbortController();
  const pods = new Informer({ resource: PODS, namespace }, { client, logger: silentLogger });
  const running = pods.run(stop.signal);
  try {
    await pods.synced();
    for (let round = -1; round < rounds; round += 1) {
      for (const [index, className] of classes.entries()) {
        const name = `p${round + 1}-${index}`;
        const startedMs = performance.now();
        if (className !== undefined) await createClaim(client, namespace, name, className);
        await client.create(PODS, podOf(namespace, name, image, className !== undefined));
        await until(pods, `pod ${name} of class ${className ?? 'none'} runs`, () => isRunning(pods, name));
        if (round >= 0) times.get(className)?.push(performance.now() - startedMs);
        await client.delete(PODS, { namespace, name }, { gracePeriodSeconds: 0 });
        if (className !== undefined) await client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace, name });
        await until(pods, `pod ${name} is deleted`, () => pods.store.size === 0);
      }
    }
  } finally {
    stop.abort();
    await running;
  }
  return times;
}

async function createClaim(
  client: KubeClient,
  namespace: string,
  name: string,
  className: string,
): Promise<void> {
  await client.create(PERSISTENT_VOLUME_CLAIMS, {
    metadata: { namespace, name },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: className,
      resources: { requests: { storage: '16Mi' } },
    },
  });
}

function podOf(namespace: string, name: string, image: string, hasVolume: boolean): Pod {
  const mounts = hasVolume ? { volumeMounts: [{ name: 'data', mountPath: '/data' }] } : {};
  const volumes = hasVolume
    ? { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: name } }] }
    : {};
  return {
    metadata: { namespace, name },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image,
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', 'exec sleep 3600'],
          ...mounts,
        },
      ],
      ...volumes,
    },
  };
}

function isRunning(pods: Informer<Pod>, name: string): boolean {
  return [...pods.store.values()].some(
    ({ metadata, status }) =>
      metadata?.name === name && status?.containerStatuses?.[0]?.state?.running !== undefined,
  );
}

async function until(pods: Informer<Pod>, what: string, isTrue: () => boolean): Promise<void> {
  const reached = Promise.withResolvers<undefined>();
  // Called for existing ones, too.
  using _subscription = pods.subscribe(() => {
    if (isTrue()) reached.resolve(undefined);
  });
  if (isTrue()) return;
  try {
    await raceSignal(reached.promise, AbortSignal.timeout(STARTS_WITHIN_MS));
  } catch (error) {
    throw new Fault('timeout', `${what}: not after ${STARTS_WITHIN_MS} ms`, { cause: error });
  }
}
