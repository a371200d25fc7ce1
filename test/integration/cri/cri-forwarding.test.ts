import { mkdtemp, rm, stat, chmod, writeFile } from 'node:fs/promises';
import { constants, type ServerHttp2Session } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CriProxyOptions } from '../../../node-agent/cri/proxy.ts';
import { frameMessage, headerOf } from '../../../src/core/policies/cri-call.ts';
import { echo, type FakeCall, type FakeRuntime, reply, startFakeRuntime } from '../../fakes/cri-runtime.ts';
import { callHeaders, gather, openSession, send } from '../../fakes/grpc-over-http2.ts';
import { type RunningProxy, startCriProxy } from '../../fakes/running-proxy.ts';

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM, NGHTTP2_ENHANCE_YOUR_CALM } = constants;
const VERSION = '/runtime.v1.RuntimeService/Version';
const CREATE = '/runtime.v1.RuntimeService/CreateContainer';
const hello = Buffer.from(frameMessage(Buffer.from('hello')));

let directory: string;
let listen: string;
let runtimeSocket: string;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  directory = await mkdtemp(join(tmpdir(), 'keelson-cri-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  listen = join(directory, 'p.sock');
  runtimeSocket = join(directory, 'r.sock');
});
afterEach(() => stack.disposeAsync());

async function startProxy(options: Partial<CriProxyOptions> = {}): Promise<RunningProxy> {
  return stack.use(await startCriProxy({ listen, runtime: runtimeSocket, ...options }));
}

async function startRuntime(handler?: (call: FakeCall) => void): Promise<FakeRuntime> {
  return stack.use(await startFakeRuntime(runtimeSocket, handler));
}

async function connect(path = listen): ReturnType<typeof openSession> {
  const session = await openSession(path);
  stack.defer(() => session.destroy());
  return session;
}

/** Says that the session takes no more calls; resolves when its peer has read that. */
async function sendGoAway(session: ServerHttp2Session): Promise<void> {
  session.close();
  // What answers a ping has read all that was sent before, and a ping overtakes what is not sent
  // yet.
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => session.ping(resolve));
}

test('a unary call of an unknown method arrives as it was sent, and so does its answer', async () => {
  const runtime = await startRuntime();
  await startProxy();
  const answer = await send(await connect(), '/runtime.v7.NewService/NewMethod', hello, [
    ...['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ...['trace-bin', 'AAEC', 'trace-bin', 'AwQF', 'x-note', 'a', 'x-note', 'b,c'],
  ]);
  expect(answer).toMatchObject({ status: '0', body: hello });
  const [call] = runtime.calls;
  expect(call?.rawHeaders).toEqual(
    callHeaders('/runtime.v7.NewService/NewMethod', [
      ...['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      ...['trace-bin', 'AAEC', 'trace-bin', 'AwQF', 'x-note', 'a', 'x-note', 'b,c'],
    ]),
  );
});

test('status, message, details and repeated trailers come back as the runtime sent them, without a date', async () => {
  await startRuntime(({ stream }) =>
    reply(stream, new Uint8Array(), {
      'grpc-status': '5',
      'grpc-message': 'RegistryUnavailable: n%C3%B6',
      'grpc-status-details-bin': 'CAUSA2FiYw',
      'extra-bin': ['AA', 'BB'],
    }),
  );
  await startProxy();
  const answer = await send(await connect(), VERSION, hello);
  expect(answer.headers).toEqual([':status', '200', 'content-type', 'application/grpc']);
  expect(answer.trailers).toEqual([
    ...['grpc-status', '5', 'grpc-message', 'RegistryUnavailable: n%C3%B6'],
    ...['grpc-status-details-bin', 'CAUSA2FiYw', 'extra-bin', 'AA', 'extra-bin', 'BB'],
  ]);
});

test('a trailers-only response is passed as one', async () => {
  await startRuntime(({ stream }) =>
    stream.respond(
      {
        ':status': 200,
        'content-type': 'application/grpc',
        'grpc-status': '12',
        'grpc-message': 'unknown method',
      },
      { endStream: true },
    ),
  );
  await startProxy();
  const answer = await send(await connect(), VERSION, hello);
  expect(answer).toMatchObject({ status: '12', message: 'unknown method', trailers: undefined });
  expect(answer.body.length).toBe(0);
});

test('messages of 16 MiB pass in both directions', async () => {
  await startRuntime();
  await startProxy();
  const big = Buffer.from(frameMessage(Buffer.alloc(16 * 1024 * 1024, 7)));
  const answer = await send(await connect(), VERSION, big);
  expect(answer.status).toBe('0');
  expect(answer.body.equals(big)).toBe(true);
});

test('a stream of messages arrives one by one, while it goes on', async () => {
  const next = Promise.withResolvers<FakeCall>();
  await startRuntime((call) => next.resolve(call));
  await startProxy();
  const session = await connect();
  const stream = session.request(callHeaders('/runtime.v1.RuntimeService/GetContainerEvents'));
  stream.end(hello);
  const { stream: up } = await next.promise;
  up.on('wantTrailers', () => up.sendTrailers({ 'grpc-status': '0' }));
  up.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  for (const text of ['one', 'two', 'three']) {
    const message = frameMessage(Buffer.from(text));
    up.write(message);
    const chunk = await new Promise<Buffer>((resolve) => stream.once('data', resolve));
    expect(chunk).toEqual(Buffer.from(message));
  }
  up.end();
  await new Promise((resolve) => stream.once('close', resolve));
});

test('a client that cancels cancels the call at the runtime', async () => {
  const next = Promise.withResolvers<FakeCall>();
  await startRuntime((call) => next.resolve(call));
  await startProxy();
  const stream = (await connect()).request(callHeaders(VERSION));
  stream.on('error', () => undefined);
  stream.end(hello);
  const { stream: up } = await next.promise;
  const closed = new Promise((resolve) => up.once('close', resolve));
  stream.close(NGHTTP2_CANCEL);
  await closed;
  expect(up.rstCode).toBe(NGHTTP2_CANCEL);
});

test.each([NGHTTP2_REFUSED_STREAM, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_CANCEL])(
  'a reset by the runtime with code %i reaches the client with that code',
  async (code) => {
    await startRuntime(({ stream }) => stream.close(code));
    await startProxy();
    expect(await send(await connect(), VERSION, hello)).toMatchObject({ status: undefined, rstCode: code });
  },
);

test('2000 cancelled calls do not end the connection', async () => {
  await startRuntime(({ path, ...call }) => path === VERSION && echo({ path, ...call }));
  await startProxy();
  const session = await connect();
  for (let index = 0; index < 2_000; index += 1) {
    const stream = session.request(callHeaders('/runtime.v1.RuntimeService/Hang'));
    stream.on('error', () => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    stream.close(NGHTTP2_CANCEL);
  }
  expect(await send(session, VERSION, hello)).toMatchObject({ status: '0' });
});

test('the runtime receives the authority localhost, whatever the client sends', async () => {
  const runtime = await startRuntime();
  await startProxy();
  const headers = callHeaders(VERSION).map((value) => (value === 'localhost' ? '%2Frun%2Fk.sock' : value));
  const stream = (await connect()).request(headers);
  stream.end(hello);
  expect((await gather(stream)).status).toBe('0');
  expect(runtime.calls[0]?.headers[':authority']).toBe('localhost');
});

test('a deadline arrives less the time that the call was held', async () => {
  await startProxy({ holdReadsMs: 60_000 });
  const session = await connect();
  const sentMs = performance.now();
  const answer = send(session, VERSION, hello, ['grpc-timeout', '100S']);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const runtime = await startRuntime();
  expect(await answer).toMatchObject({ status: '0' });
  const timeout = headerOf(runtime.calls[0]?.rawHeaders ?? [], 'grpc-timeout') ?? '';
  const heldMs = 100_000 - Number(/^(\d{1,8})u$/.exec(timeout)?.[1]) / 1_000;
  expect(heldMs).toBeGreaterThan(100);
  expect(heldMs).toBeLessThan(performance.now() - sentMs);
});

test('while the runtime is down, clients connect and get the error at once', async () => {
  await startProxy({ holdReadsMs: 0 });
  const answer = await send(await connect(), CREATE, hello);
  expect(answer.status).toBe('14');
  expect(answer.message).toContain(`the container runtime does not respond at ${runtimeSocket}`);
});

test('a call that changes something is never held, only reads are', async () => {
  await startProxy({ holdReadsMs: 60_000 });
  const session = await connect();
  expect((await send(session, CREATE, hello)).status).toBe('14');
  expect((await send(session, VERSION, hello, ['grpc-timeout', '400m'])).status).toBe('14');
});

test('a runtime that ends during a call makes it UNAVAILABLE, and the next call reaches its successor', async () => {
  const first = await startFakeRuntime(runtimeSocket, () => undefined);
  await startProxy();
  const session = await connect();
  const answer = send(session, CREATE, hello);
  while (first.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await first[Symbol.asyncDispose]();
  expect(await answer).toMatchObject({
    status: '14',
    message: expect.stringContaining('closed the connection before it answered') as string,
  });
  await startRuntime();
  expect(await send(session, VERSION, hello)).toMatchObject({ status: '0' });
});

test('after a GOAWAY calls in flight end as usual and new ones take a new connection', async () => {
  const held = Promise.withResolvers<FakeCall>();
  const runtime = await startRuntime((call) => held.resolve(call));
  await startProxy();
  const session = await connect();
  const slow = send(session, CREATE, hello);
  const call = await held.promise;
  runtime.answer(echo);
  for (const old of runtime.sessions) await sendGoAway(old);
  expect(await send(session, VERSION, hello)).toMatchObject({ status: '0' });
  echo(call);
  expect(await slow).toMatchObject({ status: '0', body: hello });
});

test('a stop lets calls in flight end, ends event streams at once and removes the socket', async () => {
  const held = Promise.withResolvers<FakeCall>();
  await startRuntime((call) => {
    if (call.path === CREATE) held.resolve(call);
  });
  const { stop } = await startProxy();
  const session = await connect();
  const events = send(session, '/runtime.v1.RuntimeService/GetContainerEvents', hello);
  const slow = send(session, CREATE, hello);
  const call = await held.promise;
  const stopped = stop();
  expect(await events).toMatchObject({
    status: '14',
    message: expect.stringContaining('stopping') as string,
  });
  reply(call.stream, hello);
  expect(await slow).toMatchObject({ status: '0', body: hello });
  await stopped;
  await expect(stat(listen)).rejects.toThrow('ENOENT');
});

test("the socket has the owner and mode of the runtime's socket, also of one that came later", async () => {
  await startProxy();
  expect((await stat(listen)).mode & 0o777).toBe(0o660);
  await startRuntime();
  await chmod(runtimeSocket, 0o606);
  await send(await connect(), VERSION, hello);
  await expect.poll(async () => (await stat(listen)).mode & 0o777).toBe(0o606);
});

test('a socket that another proxy serves is not replaced', async () => {
  await startRuntime();
  await startProxy();
  await expect(startProxy()).rejects.toMatchObject({ kind: 'conflict' });
  expect(await send(await connect(), VERSION, hello)).toMatchObject({ status: '0' });
});

test('a stale socket of a killed proxy is replaced', async () => {
  await writeFile(listen, '');
  await startRuntime();
  await startProxy();
  expect(await send(await connect(), VERSION, hello)).toMatchObject({ status: '0' });
});

test('health is a real call to the runtime', async () => {
  const { proxy } = await startProxy();
  await expect(proxy.runtimeHealth()).rejects.toMatchObject({ kind: 'unavailable' });
  const runtime = await startRuntime(({ stream }) =>
    reply(stream, frameMessage(Buffer.from('0a0130120474657374' + '1a03312e30', 'hex'))),
  );
  expect(await proxy.runtimeHealth()).toEqual({ name: 'test', version: '1.0' });
  runtime.answer(({ stream }) => reply(stream, new Uint8Array(), { 'grpc-status': '12' }));
  await expect(proxy.runtimeHealth()).rejects.toThrow('gRPC status 12');
});

test('calls are counted by method and code', async () => {
  await startRuntime();
  const { registry } = await startProxy();
  await send(await connect(), VERSION, hello);
  await send(await connect(), '/evil/../../path', hello);
  const text = await registry.metrics();
  expect(text).toContain('keelson_cri_calls_total{method="Version",code="0"} 1');
  expect(text).toContain('keelson_cri_calls_total{method="other",code="0"} 1');
  expect(text).toMatch(/keelson_cri_added_seconds_count 2/);
});

test('answers that HTTP/2 of Node refuses to send end their call alone', async () => {
  await startRuntime((call) => {
    if (call.path === VERSION) echo(call);
    else reply(call.stream, hello, { 'grpc-status': '0', 'x-bad': ['a', 'b'], 'x-ok': 'c' });
  });
  await startProxy();
  const session = await connect();
  await Promise.all(Array.from({ length: 20 }, () => send(session, '/odd/Call', hello)));
  expect(await send(session, VERSION, hello)).toMatchObject({ status: '0' });
});

test('a runtime that is killed under load fails the calls in flight, and the proxy survives', async () => {
  let runtime = await startFakeRuntime(runtimeSocket);
  await startProxy({ holdReadsMs: 2_000 });
  const session = await connect();
  const statuses = new Map<string, number>();
  const load = async (): Promise<void> => {
    for (let call = 0; call < 100; call += 1) {
      const { rstCode, ...answer } = await send(session, call % 2 === 0 ? VERSION : CREATE, hello);
      const status = answer.status ?? `reset ${rstCode}`;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  const running = Promise.all(Array.from({ length: 8 }, load));
  for (let restart = 0; restart < 5; restart += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    await runtime[Symbol.asyncDispose]();
    runtime = await startFakeRuntime(runtimeSocket);
  }
  stack.use(runtime);
  await running;
  expect([...statuses.keys()].filter((status) => status !== '0' && status !== '14')).toEqual([]);
  expect(statuses.get('0')).toBeGreaterThan(0);
  expect(await send(session, VERSION, hello)).toMatchObject({ status: '0' });
});

test('a client that disconnects while the runtime hangs leaves no connection', async () => {
  const accepted: Socket[] = [];
  const deaf = createServer((socket) => accepted.push(socket));
  await new Promise<void>((resolve) => deaf.listen(runtimeSocket, resolve));
  stack.defer(() => void deaf.close());
  await startProxy();
  const session = await connect();
  void send(session, VERSION, hello);
  await expect.poll(() => accepted.length).toBe(1);
  const closed = new Promise((resolve) => accepted[0]?.resume().once('close', resolve));
  session.destroy();
  await closed;
});

test('a client that does not read applies backpressure to the runtime instead of filling the memory of the proxy', async () => {
  let written = 0;
  const stuck = Promise.withResolvers<number>();
  await startRuntime(({ stream }) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    const chunk = Buffer.alloc(1024 * 1024);
    const write = async (): Promise<void> => {
      while (written < 1024) {
        written += 1;
        if (stream.write(chunk)) continue;
        const waiting = new Promise((resolve) => stream.once('drain', () => resolve('drained')));
        const late = new Promise((resolve) => setTimeout(() => resolve('stuck'), 500));
        if ((await Promise.race([waiting, late])) === 'stuck') break;
      }
      stuck.resolve(written);
    };
    void write();
  });
  await startProxy();
  const stream = (await connect()).request(callHeaders('/runtime.v1.RuntimeService/StreamContainers'));
  stream.on('error', () => undefined);
  stream.end(hello);
  // Two windows of 32 MiB, and what sockets hold.
  expect(await stuck.promise).toBeLessThan(128);
  stream.close(NGHTTP2_CANCEL);
});
