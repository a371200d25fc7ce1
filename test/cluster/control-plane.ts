import { readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { join } from 'node:path';
import { API_SERVICE_ADDRESS, type ClusterAddresses, POD_RANGE, SERVICE_RANGE } from './addresses.ts';
import type { Daemon, Machine } from './machine.ts';
import { API_PORT } from './network.ts';
import { type Certificate, kubeconfig, type Pki } from './pki.ts';
import type { KubernetesTools } from './tools.ts';

export interface ControlPlaneOptions {
  readonly machine: Machine;
  readonly addresses: ClusterAddresses;
  readonly pki: Pki;
  readonly tools: KubernetesTools;
  /** Requests a second that the controller manager may make. */
  readonly controllerQps: number;
  /**
   * Whether etcd waits for the disk. Without it a disk that is busy with something else does not
   * hold up the cluster.
   */
  readonly durable: boolean;
}

const ETCD = 'http://127.0.0.1:2379';
/** How soon a silent node counts as NotReady: kubelets here renew their leases every 2.5 s. */
const NODE_GRACE = '16s';

/** etcd, API server, controller manager and scheduler on one machine. */
export class ControlPlane {
  readonly #options: ControlPlaneOptions;

  constructor(options: ControlPlaneOptions) {
    this.#options = options;
  }

  /** Where clients reach the API server: from the host as from every machine. */
  get server(): string {
    return `https://${this.#options.addresses.controlPlane}:${API_PORT}`;
  }

  /**
   * Makes the certificates, starts what does not run, and waits until all of it is ready.
   * Idempotent.
   */
  async ensure(signal?: AbortSignal): Promise<void> {
    await this.ensureApiServer(signal);
    const { machine } = this.#options;
    const daemons = [await this.#controllerManager(), await this.#scheduler()];
    for (const daemon of daemons) await machine.ensureDaemon(daemon);
  }

  /** Starts etcd and the API server, and waits until that is ready. */
  async ensureApiServer(signal?: AbortSignal): Promise<void> {
    const { machine, pki } = this.#options;
    await machine.ensureDaemon(this.#etcd());
    const apiServer = await this.#apiServer();
    await machine.ensureDaemon(apiServer);
    const admin = await this.adminCertificate();
    const credentials = {
      ca: await readFile(pki.authority),
      cert: await readFile(admin.certificate),
      key: await readFile(admin.key),
    };
    const isReady = async (): Promise<true | undefined> =>
      (await statusOf(`${this.server}/readyz`, credentials)) === 200 ? true : undefined;
    await machine.untilServing(apiServer, isReady, { signal });
  }

  /** SIGTERM for the API server alone; `ensureApiServer` brings it back. */
  async stopApiServer(): Promise<void> {
    await this.#options.machine.stopDaemon(await this.#apiServer());
  }

  /** Names of the parts and whether each runs. */
  async status(): Promise<ReadonlyMap<string, boolean>> {
    const daemons = [
      this.#etcd(),
      await this.#apiServer(),
      await this.#controllerManager(),
      await this.#scheduler(),
    ];
    const running = await Promise.all(daemons.map((daemon) => this.#options.machine.findDaemon(daemon)));
    return new Map(daemons.map(({ name }, index) => [name, running[index] !== undefined]));
  }

  async adminCertificate(): Promise<Certificate> {
    return await this.#options.pki.ensureCertificate({
      name: 'admin',
      user: 'admin',
      groups: ['system:masters'],
    });
  }

  #etcd(): Daemon {
    const directory = join(this.#options.machine.directory, 'etcd');
    return {
      name: 'etcd',
      file: 'etcd',
      args: [
        `--data-dir=${directory}`,
        `--listen-client-urls=${ETCD}`,
        `--advertise-client-urls=${ETCD}`,
        '--listen-peer-urls=http://127.0.0.1:2380',
        '--logger=zap',
        '--log-level=warn',
        ...(this.#options.durable ? [] : ['--unsafe-no-fsync']),
      ],
    };
  }

  async #apiServer(): Promise<Daemon> {
    const { addresses, pki, tools } = this.#options;
    const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'];
    const serves = [
      ...[...names, 'kubernetes.default.svc.cluster.local'].map((name) => `DNS:${name}`),
      ...[addresses.controlPlane, API_SERVICE_ADDRESS, '127.0.0.1'].map((address) => `IP:${address}`),
    ];
    const serving = await pki.ensureCertificate({ name: 'kube-apiserver', user: 'kube-apiserver', serves });
    const toKubelets = await pki.ensureCertificate({
      name: 'kube-apiserver-kubelet-client',
      user: 'kube-apiserver-kubelet-client',
      groups: ['system:masters'],
    });
    return {
      name: 'kube-apiserver',
      file: tools['kube-apiserver'],
      args: [
        `--etcd-servers=${ETCD}`,
        `--advertise-address=${addresses.controlPlane}`,
        `--secure-port=${API_PORT}`,
        `--service-cluster-ip-range=${SERVICE_RANGE}`,
        '--authorization-mode=Node,RBAC',
        '--enable-admission-plugins=NodeRestriction',
        '--allow-privileged=true',
        `--client-ca-file=${pki.authority}`,
        `--tls-cert-file=${serving.certificate}`,
        `--tls-private-key-file=${serving.key}`,
        // There is no name server that would know nodes by name.
        '--kubelet-preferred-address-types=InternalIP',
        `--kubelet-certificate-authority=${pki.authority}`,
        `--kubelet-client-certificate=${toKubelets.certificate}`,
        `--kubelet-client-key=${toKubelets.key}`,
        '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
        `--service-account-key-file=${pki.serviceAccountPublicKey}`,
        `--service-account-signing-key-file=${pki.serviceAccountKey}`,
      ],
    };
  }

  async #controllerManager(): Promise<Daemon> {
    const { pki, tools, controllerQps } = this.#options;
    return {
      name: 'kube-controller-manager',
      file: tools['kube-controller-manager'],
      args: [
        `--kubeconfig=${await this.#kubeconfigOf('kube-controller-manager')}`,
        '--bind-address=127.0.0.1',
        '--leader-elect=false',
        '--allocate-node-cidrs=true',
        `--cluster-cidr=${POD_RANGE}`,
        '--node-monitor-period=2s',
        `--node-monitor-grace-period=${NODE_GRACE}`,
        '--use-service-account-credentials=true',
        `--service-account-private-key-file=${pki.serviceAccountKey}`,
        `--root-ca-file=${pki.authority}`,
        `--cluster-signing-cert-file=${pki.authority}`,
        `--cluster-signing-key-file=${join(pki.directory, 'ca.key')}`,
        `--kube-api-qps=${controllerQps}`,
        `--kube-api-burst=${2 * controllerQps}`,
      ],
    };
  }

  async #scheduler(): Promise<Daemon> {
    return {
      name: 'kube-scheduler',
      file: this.#options.tools['kube-scheduler'],
      args: [
        `--kubeconfig=${await this.#kubeconfigOf('kube-scheduler')}`,
        '--bind-address=127.0.0.1',
        '--leader-elect=false',
      ],
    };
  }

  async #kubeconfigOf(component: string): Promise<string> {
    const { machine, pki } = this.#options;
    const certificate = await pki.ensureCertificate({ name: component, user: `system:${component}` });
    const file = join(machine.directory, `${component}.kubeconfig`);
    await writeFile(file, await kubeconfig(this.server, pki.authority, certificate), { mode: 0o600 });
    return file;
  }
}

interface Credentials {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

function statusOf(url: string, credentials: Credentials): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const request = get(url, { ...credentials, agent: false, timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.once('timeout', () => request.destroy(new Error('no answer within 2 s')));
    request.once('error', reject);
  });
}
