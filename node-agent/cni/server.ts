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
  /** The agent's socket; the queue and the heartbeat file are beside it (`.queue`, `.alive`). */
  readonly socketPath: string;
  /** Interval of heartbeats; the exec binary tolerates 30 s without one for STATUS. */
  readonly aliveEveryMs?: number;
}

export interface CniServerDeps {
  readonly network: CniNetwork;
  readonly logger: Logger;
  readonly clock?: Clock;
}

const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Serves the exec binary: first its queue, then its calls. Disposing finishes the calls in progress
 * and removes the socket.
 */
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
  // Once more: a DEL may have been queued between the first check and the socket's appearance.
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

/**
 * Serves the one call of a connection. An ADD whose caller has disconnected is undone: no runtime
 * would delete it.
 */
async function serveConnection(socket: Socket, { network, logger }: CniServerDeps): Promise<void> {
  const disconnected = new AbortController();
  socket.on('close', () => disconnected.abort(new DOMException('the CNI caller disconnected', 'AbortError')));
  socket.on('error', (error) => logger.debug({ err: error }, 'CNI connection failed'));
  try {
    const call = await readCall(socket);
    const answer = await handleCall(call, { network, logger }, { signal: disconnected.signal });
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
  logger.warn({ containerId, ifname }, 'the caller of ADD disconnected without its result; undoing it');
  await network.detach({ containerId, ifname });
}

async function readCall(socket: Socket): Promise<CniCall> {
  const chunks: Buffer[] = [];
  let received = 0;
  let expected = Number.POSITIVE_INFINITY;
  const payload = await new Promise<Buffer>((resolve, reject) => {
    const fail = (fault: Fault): void => reject(fault);
    socket.setTimeout(REQUEST_TIMEOUT_MS, () =>
      fail(new Fault('timeout', 'a CNI caller sent an incomplete request')),
    );
    socket.on('close', () =>
      fail(new Fault('cancelled', 'a CNI caller disconnected before its request was complete')),
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
              `a CNI request has ${expected} bytes; the maximum is ${MAX_REQUEST_BYTES}`,
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

/** Resolves to whether the peer received it. */
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
