import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { stringify } from 'yaml';
import { Fault } from '../../src/core/fault.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { isServed } from '../../src/runtime/unix-socket.ts';
import type { AgentNode } from './keelson.ts';
import type { Kubectl } from './kubectl.ts';
import { waitFor } from './wait.ts';

/**
 * `processes`: agent and controller are processes of the machines; `shipped`: pods, by `deploy/` as
 * it is.
 */
export type KeelsonChoice = 'processes' | 'shipped';

const ROOT = join(import.meta.dirname, '../..');
const DEPLOY = join(ROOT, 'deploy');
const BUNDLE = join(ROOT, 'dist/keelson.mjs');
const BUILD_IMAGE = join(ROOT, 'scripts/image/build.sh');
const BUILD_WITHIN_MS = 900_000;
/** Output of `make image`. */
const ARCHIVE = join(ROOT, 'dist/keelson-image.tar');
export const NAMESPACE = 'keelson-system';
/** Served last, and removed with the machine: only the agent of this boot answers there. */
const CSI_SOCKET = '/run/keelson/csi.sock';
const STARTS_WITHIN_MS = 120_000;
/** What an agent makes without being told. */
const OWN_POOL_SIZE = '20Gi';

export interface ShippedOptions {
  readonly directory: string;
  readonly poolSize: string;
}

/**
 * Builds the image with `make image`'s script if the archive is older than the bundle. Returns the
 * archive, which all clusters share; a build of another process is waited for. Accepts newer Debian
 * packages than the lock names: a security update must not fail a test of Keelson.
 */
export async function ensureKeelsonImage(): Promise<string> {
  const built = await stat(BUNDLE).catch(() => undefined);
  if (built === undefined) throw new Fault('precondition', `${BUNDLE} does not exist; run \`make build\``);
  const packed = await stat(ARCHIVE).catch(() => undefined);
  if (packed !== undefined && packed.mtimeMs > built.mtimeMs) return ARCHIVE;
  await runCommand(BUILD_IMAGE, [], {
    env: { ...process.env, DEBIAN_LOCK: 'prefer', NEWER_THAN: BUNDLE },
    timeoutMs: BUILD_WITHIN_MS,
  });
  return ARCHIVE;
}

/**
 * As a user installs it: `kubectl apply -k deploy/`, or an overlay of it where a pool of another
 * size is wanted. Idempotent.
 */
export async function applyShipped(
  { directory, poolSize }: ShippedOptions,
  kubectl: Kubectl,
  signal?: AbortSignal,
): Promise<void> {
  const folder = poolSize === OWN_POOL_SIZE ? DEPLOY : await writeOverlay(directory, poolSize);
  await kubectl.run(['apply', '--kustomize', folder], { signal });
}

/** Resolves when the agent of the node serves volumes and pods. */
export async function untilAgentServes(
  { name, machine }: Pick<AgentNode, 'name' | 'machine'>,
  signal?: AbortSignal,
): Promise<void> {
  const serves = async (): Promise<true | undefined> =>
    (await isServed(await machine.outside(CSI_SOCKET))) ? true : undefined;
  await waitFor(`the agent's pod of ${name} serves`, serves, { timeoutMs: STARTS_WITHIN_MS, signal });
}

/** Resolves when a controller is ready; its other replica may be on a node that is off. */
export async function untilControllerRuns(kubectl: Kubectl, signal?: AbortSignal): Promise<void> {
  const controller = ['--namespace', NAMESPACE, 'deployment/keelson-controller'];
  await kubectl.run(
    [
      'wait',
      ...controller,
      '--for=jsonpath={.status.readyReplicas}',
      `--timeout=${STARTS_WITHIN_MS / 1_000}s`,
    ],
    { signal, timeoutMs: STARTS_WITHIN_MS + 10_000 },
  );
}

async function writeOverlay(directory: string, poolSize: string): Promise<string> {
  const overlay = join(directory, 'overlay');
  const config = {
    kubeletDir: '/var/lib/kubelet',
    metrics: { address: '0.0.0.0:9810' },
    kubernetes: {},
    pools: [
      {
        name: 'default',
        backend: 'btrfs',
        source: { file: '/var/lib/keelson/pools/default.img', size: poolSize },
      },
    ],
  };
  const patch = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'keelson-agent', namespace: NAMESPACE },
    data: { 'agent.yaml': stringify(config) },
  };
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [relative(overlay, DEPLOY)],
    patches: [{ patch: stringify(patch) }],
  };
  await mkdir(overlay, { recursive: true });
  await writeFile(join(overlay, 'kustomization.yaml'), stringify(kustomization));
  return overlay;
}
