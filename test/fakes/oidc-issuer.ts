import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** One request for tokens. */
export interface TokenRequest {
  readonly parameters: Readonly<Record<string, string>>;
  readonly authorization: string | undefined;
}

/**
 * An OpenID Connect issuer on loopback that accepts each refresh token once, as strict issuers do.
 */
export class OidcIssuer implements AsyncDisposable {
  readonly requests: TokenRequest[] = [];
  /** The refresh token that it accepts next. */
  refreshToken = 'refresh-0';
  readonly #server: Server;
  #url = '';

  constructor(certificate: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(certificate, (request, response) => void this.#answer(request, response));
  }

  /** Starts listening; returns the issuer's URL. */
  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#url = `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}/realm`;
    return this.#url;
  }

  /** Returns an id-token that expires in `lifetimeMs`; its signature is not valid. */
  idToken(lifetimeMs: number): string {
    const seconds = (ms: number): number => Math.floor(ms / 1_000);
    const nowMs = Date.now();
    const claims = {
      iss: this.#url,
      aud: 'kubernetes',
      sub: 'ann',
      iat: seconds(nowMs),
      exp: seconds(nowMs + lifetimeMs),
      jti: String(this.requests.length),
    };
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}.c2lnbmF0dXJl`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const send = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (request.url === '/realm/.well-known/openid-configuration') {
      send(200, { issuer: this.#url, token_endpoint: `${this.#url}/token` });
      return;
    }
    const parameters = Object.fromEntries(new URLSearchParams(await text(request)));
    this.requests.push({ parameters, authorization: request.headers.authorization });
    if (parameters['refresh_token'] !== this.refreshToken) {
      send(400, { error: 'invalid_grant' });
      return;
    }
    this.refreshToken = `refresh-${this.requests.length}`;
    send(200, {
      access_token: 'access',
      token_type: 'Bearer',
      expires_in: 3_600,
      refresh_token: this.refreshToken,
      id_token: this.idToken(3_600_000),
    });
  }
}
