import { join } from 'node:path';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import type { Kubectl } from './kubectl.ts';
import type { Daemon, Machine } from './machine.ts';
import { kubeconfig, type Pki } from './pki.ts';
import { KEELSON } from './pod-network.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const NAMESPACE = 'keelson-system';
const KUBECONFIG = '/etc/keelson/controller.kubeconfig';
export const CONTROLLER: Daemon = {
  name: 'keelson-controller',
  file: KEELSON,
  args: [
    ...['controller', '--kubeconfig', KUBECONFIG, '--namespace', NAMESPACE, '--no-leader-election'],
    ...['--metrics-address', '127.0.0.1:9812', '--log-level', 'debug'],
  ],
};

export interface KeelsonControllerDeps {
  readonly machine: Machine;
  readonly server: string;
  readonly pki: Pki;
  readonly kubectl: Kubectl;
}

/**
 * What Keelson needs of the API server: its kinds, its CSIDriver, and a class of each binding mode.
 * Idempotent.
 */
export async function installKinds(kubectl: Kubectl, signal?: AbortSignal): Promise<void> {
  const crds = ['--server-side', '--force-conflicts', '--filename', join(DEPLOY, 'crds')];
  await kubectl.run(['apply', ...crds], { signal });
  await kubectl.wait('crd/localvolumes.keelson.dev', 'condition=Established', { signal });
  await kubectl.apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSIDriver',
      metadata: { name: DRIVER_NAME },
      spec: {
        attachRequired: false,
        podInfoOnMount: true,
        storageCapacity: true,
        fsGroupPolicy: 'File',
        volumeLifecycleModes: ['Persistent', 'Ephemeral'],
      },
    },
    storageClass('keelson', { volumeBindingMode: 'WaitForFirstConsumer' }),
    storageClass('keelson-immediate', { volumeBindingMode: 'Immediate' }),
    storageClass('keelson-retain', { volumeBindingMode: 'WaitForFirstConsumer', reclaimPolicy: 'Retain' }),
  ]);
}

/** Runs `keelson controller` as a process of the control plane. Idempotent. */
export async function ensureController({ machine, ...deps }: KeelsonControllerDeps): Promise<void> {
  await machine.write(KUBECONFIG, await administratorKubeconfig('keelson-controller', deps));
  await machine.ensureDaemon(CONTROLLER);
}

/** SIGTERM, or SIGKILL at once without a grace; `ensureController` brings it back. */
export async function stopController(machine: Machine, graceMs?: number): Promise<void> {
  await machine.stopDaemon(CONTROLLER, graceMs);
}

/** For a process that stands in for a pod: allowed everything, since no RBAC is tested with it. */
export async function administratorKubeconfig(
  user: string,
  { server, pki }: Pick<KeelsonControllerDeps, 'server' | 'pki'>,
): Promise<string> {
  const certificate = await pki.ensureCertificate({ name: user, user, groups: ['system:masters'] });
  return await kubeconfig(server, pki.authority, certificate);
}

function storageClass(name: string, fields: object): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: DRIVER_NAME,
    allowVolumeExpansion: true,
    ...fields,
  };
}
