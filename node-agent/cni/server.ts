import { rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { CniCall } from '../../src/core/cni/cni-request.ts';
import { Fault } from '../../src/core/fault.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { every } from '../../src/runtime/interval.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { TaskGroup } from '../../src/runtime/task-group.ts';
import { publishSocket } from '../../src/runtime/unix-socket.ts';
import { DeleteQueue } from './delete-queue.ts';
import { decodeRequest, encodeAnswer, LENGTH_BYTES, MAX_REQUEST_BYTES } from './frame.ts';
import { type CniNetwork, handleCall } from './handler.ts';

export interface CniServerOptions {
  /** Where the exec binary finds the agent; the queue and the sign of life are beside it (`.queue`, `.alive`). */
  readonly socketPath: string;
  /** How often the agent shows that it lives; the exec binary forgives STATUS an absence of 30 s. */
  readonly aliveEveryMs?: number;
}

export interface CniServerDeps {
  readonly network: CniNetwork;
  readonly logger: Logger;
  readonly clock?: Clock;
}

const REQUEST_TIMEOUT_MS = 10_000;

/** Serves the exec binary: first what it has queued, then its calls. Disposing ends the calls in hand and removes the socket. */
export async function serveCni(options: CniServerOptions, deps: CniServerDeps): Promise<AsyncDisposable> {
  const { socketPath, aliveEveryMs = 5_000 } = options;
  const { logger, clock = systemClock } = deps;
  const queue = new DeleteQueue(`${socketPath}.queue`, deps);
  const alive = `${socketPath}.alive`;
  await queue.drain();

  const calls = new Set<Promise<void>>();
  const server = createServer((socket) => {
    const call = serveConnection(socket, deps).finally(() => calls.delete(call));
    calls.add(call);
  });
  await publishSocket(socketPath, 0o600, (path) => listen(server, path));

  const maintain = async (): Promise<void> => {
    await touch(alive);
    await queue.drain();
  };
  // Again at once: a DEL may have been queued between the first look and the socket's appearance.
  await maintain();
  const tasks = new TaskGroup({ logger });
  tasks.run('cni-alive', (signal) =>
    every({ name: 'cni-alive', everyMs: aliveEveryMs, signal }, maintain, { logger, clock }),
  );
  logger.info({ socket: socketPath }, 'serving CNI');

  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      await rm(socketPath, { force: true });
      await Promise.all(calls);
      tasks.stop();
      await tasks.wait();
      await closed;
    },
  };
}

/** Serves the one call of a connection. An ADD whose runtime has gone is undone: nobody else would know of it. */
async function serveConnection(socket: Socket, { network, logger }: CniServerDeps): Promise<void> {
  const gone = new AbortController();
  socket.on('close', () => gone.abort(new DOMException('the CNI caller has gone', 'AbortError')));
  socket.on('error', (error) => logger.debug({ err: error }, 'CNI connection failed'));
  try {
    const call = await readCall(socket);
    const answer = await handleCall(call, { network, logger }, { signal: gone.signal });
    const delivered = await send(socket, encodeAnswer(answer));
    if (!delivered && answer.status === 0 && call.environment.get('CNI_COMMAND') === 'ADD') {
      await undoAdd(call, { network, logger });
    }
  } catch (error) {
    logger.warn({ err: error }, 'CNI connection dropped');
  } finally {
    socket.destroy();
  }
}

async function undoAdd({ environment }: CniCall, { network, logger }: CniServerDeps): Promise<void> {
  const containerId = environment.get('CNI_CONTAINERID') ?? '';
  const ifname = environment.get('CNI_IFNAME') ?? '';
  logger.warn({ containerId, ifname }, 'the caller of ADD has gone without its result, undoing it');
  await network.detach({ containerId, ifname });
}

async function readCall(socket: Socket): Promise<CniCall> {
  const chunks: Buffer[] = [];
  let received = 0;
  let expected = Number.POSITIVE_INFINITY;
  const payload = await new Promise<Buffer>((resolve, reject) => {
    const fail = (fault: Fault): void => reject(fault);
    socket.setTimeout(REQUEST_TIMEOUT_MS, () =>
      fail(new Fault('timeout', 'a CNI caller sent no whole request')),
    );
    socket.on('close', () =>
      fail(new Fault('cancelled', 'a CNI caller has gone before its request was whole')),
    );
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      received += chunk.length;
      if (received < LENGTH_BYTES) return;
      if (expected === Number.POSITIVE_INFINITY) {
        expected = LENGTH_BYTES + Buffer.concat(chunks).readUInt32BE(0);
        if (expected > MAX_REQUEST_BYTES) {
          fail(
            new Fault(
              'out-of-range',
              `a CNI request has ${expected} bytes; at most ${MAX_REQUEST_BYTES} are read`,
            ),
          );
          return;
        }
      }
      if (received >= expected) resolve(Buffer.concat(chunks).subarray(LENGTH_BYTES, expected));
    });
  });
  socket.setTimeout(0);
  return decodeRequest(payload);
}

/** Whether the peer was there to take it. */
function send(socket: Socket, frame: Buffer): Promise<boolean> {
  if (socket.destroyed) return Promise.resolve(false);
  return new Promise((resolve) =>
    socket.write(frame, (error) => resolve(error === undefined || error === null)),
  );
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch(() => writeFile(path, '', { mode: 0o600 }));
}
