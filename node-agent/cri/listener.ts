import { chmod, chown, stat, unlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { Fault } from '../../src/core/fault.ts';
import { publishSocket } from '../../src/runtime/unix-socket.ts';

export interface ListenerOptions {
  readonly listen: string;
  /**
   * The listening socket gets its owner and mode: clients of the proxy need the same rights as
   * those of the runtime.
   */
  readonly runtime: string;
  /**
   * File descriptor of `listen`, when a service manager such as systemd created the socket. It
   * stays open when this listener ends.
   */
  readonly inherited?: number | undefined;
}

export interface Listener extends AsyncDisposable {
  /** Copies owner and mode of the runtime's socket, which may not exist at the start. */
  copyAccess(): Promise<void>;
}

/** Until the runtime's socket is known: root and its group, as containerd's default. */
const DEFAULT_ACCESS = { mode: 0o660, uid: 0, gid: 0 };

/**
 * Serves the socket. Disposing accepts no more connections, and removes the socket if it is still
 * this one.
 */
export async function openListener(
  { listen, runtime, inherited }: ListenerOptions,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  const server = createServer(onConnection);
  if (inherited !== undefined) await bind(server, { fd: inherited }, listen);
  else {
    const access = (await readAccess(runtime)) ?? DEFAULT_ACCESS;
    await publishSocket(listen, access.mode, async (temporary) => {
      await bind(server, { path: temporary }, temporary);
      if (process.getuid?.() === 0) await chown(temporary, access.uid, access.gid);
    });
  }
  const { ino } = await stat(listen);
  return {
    async copyAccess() {
      const current = await readAccess(runtime);
      if (current === undefined || !(await isStill(listen, ino))) return;
      if (process.getuid?.() === 0) await chown(listen, current.uid, current.gid);
      await chmod(listen, current.mode);
    },
    async [Symbol.asyncDispose]() {
      if (inherited === undefined && (await isStill(listen, ino)))
        await unlink(listen).catch(() => undefined);
      // Open connections belong to the forwarder.
      server.close();
    },
  };
}

async function readAccess(path: string): Promise<typeof DEFAULT_ACCESS | undefined> {
  try {
    const { mode, uid, gid } = await stat(path);
    return { mode: mode & 0o777, uid, gid };
  } catch {
    return undefined;
  }
}

async function isStill(path: string, ino: number): Promise<boolean> {
  return await stat(path).then(
    (now) => now.ino === ino,
    () => false,
  );
}

function bind(server: Server, where: { path: string } | { fd: number }, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Fault('unavailable', `cannot listen on ${path}: ${error.message}`, { cause: error })),
    );
    server.listen(where, () => {
      server.removeAllListeners('error').on('error', () => undefined);
      resolve();
    });
  });
}
