import { generateKeyPairSync } from 'node:crypto';
import { access, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../src/runtime/child-process.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';

export interface CertificateRequest {
  /** Name of its files. */
  readonly name: string;
  /** Who it is for Kubernetes: a user and groups. */
  readonly user: string;
  readonly groups?: readonly string[];
  /** `DNS:name` and `IP:address` under which it serves; without any it is for a client alone. */
  readonly serves?: readonly string[];
}

/** Paths of a certificate and its key, PEM. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'] as const;
const DAYS = '3650';

/**
 * The cluster's certificate authority and service account key, in a directory of their own. Every
 * `ensure*` keeps existing files.
 */
export class Pki {
  readonly directory: string;
  /**
   * By name: nodes that come up together may ask for the same certificate, and key and certificate
   * must be of one making.
   */
  readonly #making = new KeyedLock();

  constructor(directory: string) {
    this.directory = directory;
  }

  /** The authority that servers and clients of this cluster trust. */
  get authority(): string {
    return join(this.directory, 'ca.crt');
  }

  /** PEM key that signs service account tokens. */
  get serviceAccountKey(): string {
    return join(this.directory, 'service-account.key');
  }

  get serviceAccountPublicKey(): string {
    return join(this.directory, 'service-account.pub');
  }

  async ensureAuthority(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await this.#ensureServiceAccountKey();
    await this.#make('ca', [
      ...['-subj', '/CN=keelson-cluster'],
      ...['-addext', 'basicConstraints=critical,CA:TRUE'],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature'],
    ]);
  }

  async ensureCertificate({
    name,
    user,
    groups = [],
    serves = [],
  }: CertificateRequest): Promise<Certificate> {
    const usage = serves.length > 0 ? 'serverAuth,clientAuth' : 'clientAuth';
    return await this.#make(name, [
      ...['-CA', this.authority, '-CAkey', join(this.directory, 'ca.key')],
      ...['-subj', `${groups.map((group) => `/O=${group}`).join('')}/CN=${user}`],
      ...['-addext', 'basicConstraints=critical,CA:FALSE'],
      ...['-addext', `extendedKeyUsage=${usage}`],
      ...(serves.length > 0 ? ['-addext', `subjectAltName=${serves.join(',')}`] : []),
    ]);
  }

  async #ensureServiceAccountKey(): Promise<void> {
    if (await exists(this.serviceAccountKey)) return;
    const { privateKey, publicKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      privateKeyEncoding: { type: 'sec1', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    await writeFile(this.serviceAccountPublicKey, publicKey);
    await writeFile(`${this.serviceAccountKey}.new`, privateKey, { mode: 0o600 });
    await rename(`${this.serviceAccountKey}.new`, this.serviceAccountKey);
  }

  /** The certificate gets its name last: where it is, its key is. */
  async #make(name: string, args: readonly string[]): Promise<Certificate> {
    const paths = {
      certificate: join(this.directory, `${name}.crt`),
      key: join(this.directory, `${name}.key`),
    };
    using _made = await this.#making.acquire(name);
    if (await exists(paths.certificate)) return paths;
    const files = ['-keyout', paths.key, '-out', `${paths.certificate}.new`];
    // An empty configuration: the machine's own would add extensions.
    await runCommand('openssl', [
      'req',
      '-x509',
      '-config',
      '/dev/null',
      ...EC_KEY,
      '-days',
      DAYS,
      ...files,
      ...args,
    ]);
    await rename(`${paths.certificate}.new`, paths.certificate);
    return paths;
  }
}

/** A kubeconfig that holds all it needs, as JSON, which is YAML. */
export async function kubeconfig(server: string, authority: string, client: Certificate): Promise<string> {
  const base64 = async (path: string): Promise<string> => (await readFile(path)).toString('base64');
  const [ca, certificate, key] = await Promise.all([authority, client.certificate, client.key].map(base64));
  const name = 'keelson';
  return `${JSON.stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server, 'certificate-authority-data': ca } }],
      users: [{ name, user: { 'client-certificate-data': certificate, 'client-key-data': key } }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      'current-context': name,
    },
    undefined,
    2,
  )}\n`;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
