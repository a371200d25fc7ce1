import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { Fault } from '../core/fault.ts';
import { sleep } from '../runtime/clock.ts';
import type { OidcTokens } from './oidc.ts';

interface SaveOidcTokensOptions {
  /** Path of the kubeconfig that holds the user. */
  readonly path: string;
  readonly user: string;
  readonly tokens: OidcTokens;
}

/** kubectl locks a kubeconfig for one write. */
const LOCK_ATTEMPTS = 20;
const LOCK_WAIT_MS = 50;

/**
 * Writes refreshed tokens into the kubeconfig as kubectl does, under kubectl's lock file and with
 * the file's mode. Comments and order stay. Rejects with `busy` when the lock is not released.
 */
export async function saveOidcTokens({ path, user, tokens }: SaveOidcTokensOptions): Promise<void> {
  const lock = `${path}.lock`;
  await acquire(lock);
  await using _released = { [Symbol.asyncDispose]: async () => await rm(lock, { force: true }) };
  const document = parseDocument(await readFile(path, 'utf8'));
  const users = (document.toJS() as { readonly users?: readonly { readonly name?: string }[] } | null)?.users;
  const index = users?.findIndex(({ name }) => name === user) ?? -1;
  if (index === -1) return;
  const config = ['users', index, 'user', 'auth-provider', 'config'];
  document.setIn([...config, 'id-token'], tokens.idToken);
  document.setIn([...config, 'refresh-token'], tokens.refreshToken);
  const { mode } = await stat(path);
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, document.toString({ lineWidth: 0 }), { mode: mode & 0o777 });
  await rename(temporary, path);
}

async function acquire(lock: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await (await open(lock, 'wx', 0o600)).close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new Fault('precondition', `cannot save the refreshed token: cannot create ${lock}`, {
          cause: error,
        });
      }
      if (attempt === LOCK_ATTEMPTS) {
        throw new Fault(
          'busy',
          `cannot save the refreshed token: ${lock} exists; remove it if no kubectl runs`,
        );
      }
      await sleep(LOCK_WAIT_MS);
    }
  }
}
