import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A SOCKS5 proxy on loopback (RFC 1928) that requires no authentication and records its
 * destinations.
 */
export class SocksProxy implements AsyncDisposable {
  readonly destinations: string[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((client) => void this.#serve(client));

  /** Starts listening; returns the URL for `proxy-url`. */
  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `socks5://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(client: Socket): Promise<void> {
    this.#track(client);
    await once(client, 'data');
    client.write(Buffer.of(5, 0));
    const [request] = (await once(client, 'data')) as [Buffer];
    // VER, CMD, RSV, ATYP (1: IPv4), address, port.
    const host = request[3] === 1 ? request.subarray(4, 8).join('.') : 'unsupported';
    const port = request.readUInt16BE(8);
    this.destinations.push(`${host}:${port}`);
    const upstream = connect(port, host, () => {
      client.write(Buffer.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0));
      client.pipe(upstream).pipe(client);
    });
    this.#track(upstream);
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
  }
}
