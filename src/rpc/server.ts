import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { unlink } from 'node:fs/promises';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { Fault } from '../core/fault.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { publishSocket } from '../runtime/unix-socket.ts';
import { serviceDefinition } from './definitions.ts';
import type { MethodOf, RequestIn, ResponseOf, ServiceName } from './services.ts';
import { messageForPeer, statusOfKind } from './status.ts';

/** What a handler receives besides its request. */
export interface CallContext {
  /** Aborts when the client disconnects or its deadline expires. */
  readonly signal: AbortSignal;
  /** Has the method and the call's id. */
  readonly logger: Logger;
}

/**
 * Unary handlers by method. An omitted method answers UNIMPLEMENTED. A handler fails by throwing a
 * Fault.
 */
export type RpcHandlers<S extends ServiceName> = {
  readonly [M in MethodOf<S>]?: (request: RequestIn<S, M>, context: CallContext) => Promise<ResponseOf<S, M>>;
};

/**
 * Server-streaming handlers by method: the stream ends with the iterable, and fails by a Fault.
 * Values are only requested as the client reads them.
 */
export type RpcStreamHandlers<S extends ServiceName> = {
  readonly [M in MethodOf<S>]?: (
    request: RequestIn<S, M>,
    context: CallContext,
  ) => AsyncIterable<ResponseOf<S, M>>;
};

/** Receives every finished call, for metrics. `code` is the gRPC status name. */
export type CallObserver = (call: {
  readonly method: string;
  readonly code: string;
  readonly durationMs: number;
}) => void;

export interface RpcServerDeps {
  readonly logger: Logger;
  readonly onCall?: CallObserver;
}

/**
 * A gRPC server on one unix socket. Disposing it drains the calls in flight for up to `drainMs`,
 * then ends them.
 */
export interface RpcServer extends AsyncDisposable {
  add<S extends ServiceName>(service: S, handlers: RpcHandlers<S>): void;
  /** Adds a service whose methods are all server-streaming. */
  addStreams<S extends ServiceName>(service: S, handlers: RpcStreamHandlers<S>): void;
  /** Resolves when the socket (mode 0600) accepts calls. */
  listen(socketPath: string): Promise<void>;
}

export interface RpcServerOptions {
  readonly drainMs?: number;
}

/** Polled by kubelet; logged at trace. */
const CHATTER = new Set([
  'Probe',
  'GetPluginInfo',
  'NodeGetCapabilities',
  'NodeGetVolumeStats',
  'NodeGetVolumeHealth',
  'NodeGetStorageHealth',
  'ControllerListVolumeHealth',
  'GetInfo',
]);

type AnyHandler = (request: unknown, context: CallContext) => Promise<unknown>;
type AnyStreamHandler = (request: unknown, context: CallContext) => AsyncIterable<unknown>;
type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

/** A call that is logged, counted and can be cancelled. */
interface BegunCall {
  readonly context: CallContext;
  readonly done: () => void;
  /** Returns the status for the client. */
  readonly failed: (error: unknown) => { readonly code: status; readonly details: string };
}

/** Creates a server without binding anything yet. */
export function createRpcServer(
  { drainMs = 5_000 }: RpcServerOptions,
  { logger, onCall }: RpcServerDeps,
): RpcServer {
  const server = new Server({
    'grpc.max_receive_message_length': 16 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
  });
  let listening: string | undefined;

  const begin: Begin = (method, path, call) => beginCall({ method, path, call }, { logger, onCall });

  const register = (
    service: ServiceName,
    handlers: object,
    wrap: (method: string, path: string, handler: unknown) => unknown,
  ): void => {
    const definition = serviceDefinition(service);
    const implementation: Record<string, unknown> = {};
    for (const [method, handler] of Object.entries(handlers)) {
      const path = definition[method]?.path;
      if (path === undefined) throw new Fault('bug', `service ${service} has no method ${method}`);
      implementation[method] = wrap(method, path, handler);
    }
    server.addService(definition, implementation as UntypedServiceImplementation);
  };

  return {
    add: (service, handlers) =>
      register(service, handlers, (method, path, handler) =>
        answerUnary(begin, method, path, handler as AnyHandler),
      ),
    addStreams: (service, handlers) =>
      register(service, handlers, (method, path, handler) =>
        answerStream(begin, method, path, handler as AnyStreamHandler),
      ),
    async listen(socketPath) {
      await publishSocket(socketPath, 0o600, (temporary) => bind(server, temporary));
      listening = socketPath;
    },
    async [Symbol.asyncDispose]() {
      const drained = Promise.withResolvers<undefined>();
      server.tryShutdown(() => drained.resolve(undefined));
      using _force = systemClock.schedule(drainMs, () => server.forceShutdown());
      await drained.promise;
      if (listening !== undefined) await unlink(listening).catch(() => undefined);
    },
  };
}

type Begin = (method: string, path: string, call: AnyCall) => BegunCall;

/** Logs and counts a call from its begin to its end. */
function beginCall(
  { method, path, call }: { readonly method: string; readonly path: string; readonly call: AnyCall },
  { logger, onCall }: Pick<RpcServerDeps, 'logger'> & { readonly onCall: CallObserver | undefined },
): BegunCall {
  const callId = randomUUID().slice(0, 8);
  const callLogger = logger.child({ rpc: path, callId });
  const level = CHATTER.has(method) ? 'trace' : 'debug';
  const startedMs = performance.now();
  const cancelled = new AbortController();
  call.on('cancelled', () => cancelled.abort(new DOMException('the client disconnected', 'AbortError')));
  callLogger[level]({ request: call.request }, 'rpc received');

  const finish = (code: status): number => {
    const durationMs = performance.now() - startedMs;
    onCall?.({ method: path, code: status[code], durationMs });
    return Math.round(durationMs * 10) / 10;
  };
  return {
    context: { signal: cancelled.signal, logger: callLogger },
    done: () => callLogger[level]({ durationMs: finish(status.OK) }, 'rpc done'),
    failed(error) {
      const fault = Fault.from(error);
      const code = statusOfKind(fault.kind);
      const durationMs = finish(code);
      const fields = {
        code: status[code],
        kind: fault.kind,
        fault: fault.message,
        ...fault.fields,
        durationMs,
      };
      if (fault.kind === 'bug') callLogger.error({ ...fields, err: fault }, 'rpc failed');
      else callLogger.info(fields, 'rpc refused');
      return { code, details: messageForPeer(fault, callId) };
    },
  };
}

function answerUnary(
  begin: Begin,
  method: string,
  path: string,
  handler: AnyHandler,
): (call: ServerUnaryCall<unknown, unknown>, reply: sendUnaryData<unknown>) => void {
  return (call: ServerUnaryCall<unknown, unknown>, reply: sendUnaryData<unknown>): void => {
    const { context, done, failed } = begin(method, path, call);
    // Called inside a promise: in grpc-js a rejected async handler would end the process.
    Promise.resolve()
      .then(() => handler(call.request, context))
      .then(
        (response) => {
          done();
          reply(null, response);
        },
        (error: unknown) => reply(failed(error)),
      );
  };
}

function answerStream(
  begin: Begin,
  method: string,
  path: string,
  handler: AnyStreamHandler,
): (call: ServerWritableStream<unknown, unknown>) => void {
  return (call: ServerWritableStream<unknown, unknown>): void => {
    const { context, done, failed } = begin(method, path, call);
    const send = async (): Promise<void> => {
      for await (const message of handler(call.request, context)) {
        context.signal.throwIfAborted();
        // The client reads more slowly than values arrive: the next one is not requested yet.
        if (!call.write(message)) await once(call, 'drain', { signal: context.signal });
      }
    };
    send().then(
      () => {
        done();
        call.end();
      },
      (error: unknown) => void call.emit('error', failed(error)),
    );
  };
}

function bind(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(new Fault('unavailable', `cannot listen on ${socketPath}`, { cause: error }));
    });
  });
}
