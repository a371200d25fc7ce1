import { readFile } from 'node:fs/promises';
import {
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  type CustomFetch,
  customFetch,
  discovery,
  None,
  refreshTokenGrant,
} from 'openid-client';
import { Agent, fetch as fetchWithAgent } from 'undici';
import { Fault } from '../core/fault.ts';
import { type Renewable, type RenewalDeps, renewable } from './credentials.ts';

interface OidcOptions {
  /** Name of the kubeconfig user, for messages. */
  readonly user: string;
  /** `auth-provider.config` of the provider `oidc`. */
  readonly config: Readonly<Record<string, string>>;
}

export interface OidcTokens {
  readonly idToken: string;
  readonly refreshToken: string;
}

interface OidcDeps extends RenewalDeps {
  /** Stores refreshed tokens: an issuer may accept each refresh token once only. */
  readonly save: (tokens: OidcTokens) => Promise<void>;
}

/** kubectl uses the same margin. */
const EXPIRY_MARGIN_MS = 10_000;

/**
 * Returns the id-token of a kubeconfig user, refreshed at its issuer before it expires. Rejects
 * with `denied` when a login is required, `unavailable` when the issuer fails.
 *
 * The client library passes the issuer as a string, which openid-client rejects
 * (kubernetes-client/javascript#2202), ignores client-secret and drops the refreshed tokens.
 */
export function oidcIdToken({ user, config }: OidcOptions, { clock, save }: OidcDeps): Renewable<string> {
  let tokens: OidcTokens = { idToken: config['id-token'] ?? '', refreshToken: config['refresh-token'] ?? '' };
  let isRefused = false;
  let isSaved = true;
  const lifetime = (): number => expiryMs(tokens.idToken) - EXPIRY_MARGIN_MS;
  const renewing = renewable(
    async () => {
      if (isRefused || now() >= lifetime()) {
        tokens = await refresh(user, config, tokens.refreshToken);
        isRefused = false;
        isSaved = false;
      }
      if (!isSaved) await save(tokens);
      isSaved = true;
      return { value: tokens.idToken, untilMs: lifetime() };
    },
    clock === undefined ? {} : { clock },
  );
  return {
    current: async (signal) => await renewing.current(signal),
    reject() {
      isRefused = tokens.refreshToken !== '';
      renewing.reject();
    },
  };

  function now(): number {
    return clock?.nowMs() ?? Date.now();
  }
}

async function refresh(
  user: string,
  config: OidcOptions['config'],
  refreshToken: string,
): Promise<OidcTokens> {
  const { 'idp-issuer-url': issuer, 'client-id': clientId } = config;
  if (refreshToken === '' || !issuer || !clientId) {
    throw new Fault(
      'denied',
      `the id-token of kubeconfig user ${user} has expired and cannot be refreshed without refresh-token, client-id and idp-issuer-url; log in again`,
    );
  }
  try {
    const client = await configure(new URL(issuer), clientId, config);
    const answer = await refreshTokenGrant(client, refreshToken);
    if (answer.id_token === undefined) {
      throw new Fault('denied', `issuer ${issuer} returned no id_token for kubeconfig user ${user}`);
    }
    return { idToken: answer.id_token, refreshToken: answer.refresh_token ?? refreshToken };
  } catch (error) {
    if (error instanceof Fault) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Fault(
      'unavailable',
      `cannot refresh the id-token of kubeconfig user ${user} at ${issuer}: ${reason}`,
      { cause: error },
    );
  }
}

async function configure(
  issuer: URL,
  clientId: string,
  config: OidcOptions['config'],
): Promise<Configuration> {
  const fetch = await fetchOf(config);
  const found = await discovery(
    issuer,
    clientId,
    undefined,
    None(),
    fetch === undefined ? {} : { [customFetch]: fetch },
  );
  const secret = config['client-secret'];
  if (!secret) return found;
  // OpenID Connect Discovery 1.0, section 3: client_secret_basic if the issuer lists no method.
  const methods = found.serverMetadata().token_endpoint_auth_methods_supported;
  const authentication =
    methods?.includes('client_secret_basic') === false ? ClientSecretPost(secret) : ClientSecretBasic(secret);
  const client = new Configuration(found.serverMetadata(), clientId, undefined, authentication);
  if (fetch !== undefined) client[customFetch] = fetch;
  return client;
}

/** Returns a fetch that trusts the issuer's own authority; undefined for the system's. */
async function fetchOf(config: OidcOptions['config']): Promise<CustomFetch | undefined> {
  const { 'idp-certificate-authority-data': data, 'idp-certificate-authority': path } = config;
  if (!data && !path) return undefined;
  const ca = data ? Buffer.from(data, 'base64') : await readFile(path ?? '');
  const dispatcher = new Agent({ connect: { ca } });
  return async (url, { body, ...options }) => {
    const form = body instanceof URLSearchParams ? body.toString() : null;
    const response = await fetchWithAgent(url, { ...options, body: form, dispatcher });
    return new Response(await response.arrayBuffer(), {
      status: response.status,
      headers: Object.fromEntries(response.headers),
    });
  };
}

/** Returns the time in a JWT's claim `exp`; 0 for a token that has none. */
function expiryMs(token: string): number {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const exp = (claims as { readonly exp?: unknown }).exp;
    return typeof exp === 'number' ? exp * 1_000 : 0;
  } catch {
    return 0;
  }
}
