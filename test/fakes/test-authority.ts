import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../src/runtime/child-process.ts';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];

/** A certificate authority in a directory, made by openssl. */
export class TestAuthority {
  readonly #directory: string;
  readonly #name: string;
  readonly pem: string;

  private constructor(directory: string, name: string, pem: string) {
    this.#directory = directory;
    this.#name = name;
    this.pem = pem;
  }

  static async create(directory: string, name: string): Promise<TestAuthority> {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`];
    await runCommand('openssl', ['req', '-x509', ...KEY, ...files, '-subj', `/CN=${name}`], {
      cwd: directory,
    });
    return new TestAuthority(directory, name, await readFile(join(directory, `${name}.crt`), 'utf8'));
  }

  /** Signs a server certificate for `names`, e.g. `IP:127.0.0.1` or `DNS:kube`. */
  async issue(...names: readonly string[]): Promise<{ readonly cert: string; readonly key: string }> {
    const signer = ['-CA', `${this.#name}.crt`, '-CAkey', `${this.#name}.key`];
    const files = ['-keyout', 'server.key', '-out', 'server.crt', '-subj', '/CN=server'];
    const extensions = [
      ...['-addext', `subjectAltName=${names.join(',')}`],
      ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    ];
    await runCommand('openssl', ['req', '-x509', ...KEY, ...signer, ...files, ...extensions], {
      cwd: this.#directory,
    });
    return {
      cert: await readFile(join(this.#directory, 'server.crt'), 'utf8'),
      key: await readFile(join(this.#directory, 'server.key'), 'utf8'),
    };
  }
}
