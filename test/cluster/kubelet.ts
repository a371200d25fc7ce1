import { STARTUP_TAINT } from '../../node-agent/kube/startup-taint.ts';
import { DNS_SERVICE_ADDRESS } from './addresses.ts';
import type { Daemon } from './machine.ts';

export interface KubeletOptions {
  readonly binary: string;
  readonly nodeName: string;
  readonly address: string;
  readonly cgroupRoot: string;
  /** CRI socket on the machine: the runtime's, or that of a proxy before it. */
  readonly criSocket: string;
  /** Whether the node comes with the taint that keeps pods off until Keelson's agent serves. */
  readonly startupTaint: boolean;
  /** Gates that are off by default. */
  readonly features: readonly string[];
}

/** Files of kubelet on its machine. */
export const KUBELET_FILES = {
  config: '/etc/kubernetes/kubelet.json',
  kubeconfig: '/etc/kubernetes/kubelet.kubeconfig',
  authority: '/etc/kubernetes/ca.crt',
  certificate: '/etc/kubernetes/kubelet.crt',
  key: '/etc/kubernetes/kubelet.key',
} as const;

export function kubeletDaemon({ binary, nodeName, address }: KubeletOptions): Daemon {
  const { config, kubeconfig } = KUBELET_FILES;
  return {
    name: 'kubelet',
    file: binary,
    args: [
      `--config=${config}`,
      `--kubeconfig=${kubeconfig}`,
      `--hostname-override=${nodeName}`,
      `--node-ip=${address}`,
      '--v=2',
    ],
  };
}

/**
 * KubeletConfiguration (kubelet.config.k8s.io/v1beta1): defaults but for what a namespace needs and
 * what a test cannot wait for.
 */
export function kubeletConfig({ cgroupRoot, criSocket, startupTaint, features }: KubeletOptions): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    featureGates: Object.fromEntries(features.map((name) => [name, true])),
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: KUBELET_FILES.authority },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: KUBELET_FILES.certificate,
    tlsPrivateKeyFile: KUBELET_FILES.key,
    containerRuntimeEndpoint: `unix://${criSocket}`,
    registerWithTaints: startupTaint ? [{ key: STARTUP_TAINT, effect: 'NoSchedule' }] : [],
    resolvConf: '/etc/resolv.conf',
    clusterDNS: [DNS_SERVICE_ADDRESS],
    clusterDomain: 'cluster.local',
    cgroupDriver: 'cgroupfs',
    cgroupRoot,
    failCgroupV1: false,
    failSwapOn: false,
    // The machine's disk and memory are shared with all that runs beside it: how full they are is
    // no reason to evict a pod.
    evictionHard: {
      'memory.available': '0%',
      'nodefs.available': '0%',
      'nodefs.inodesFree': '0%',
      'imagefs.available': '0%',
    },
    imageGCHighThresholdPercent: 100,
    // To lower a process's score needs CAP_SYS_RESOURCE, which a container's root may not have.
    oomScoreAdj: 0,
    nodeStatusUpdateFrequency: '2s',
    nodeLeaseDurationSeconds: 10,
    syncFrequency: '10s',
    volumeStatsAggPeriod: '10s',
    serializeImagePulls: false,
  };
}
