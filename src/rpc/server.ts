import { randomUUID } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
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

/** What a handler gets besides its request. */
export interface CallContext {
  /** Aborts when the caller goes away or its deadline passes. */
  readonly signal: AbortSignal;
  /** Carries the method and the call's id. */
  readonly logger: Logger;
}

/** Unary handlers by method. A method that is left out answers UNIMPLEMENTED. A handler fails by throwing a Fault. */
export type RpcHandlers<S extends ServiceName> = {
  readonly [M in MethodOf<S>]?: (request: RequestIn<S, M>, context: CallContext) => Promise<ResponseOf<S, M>>;
};

/** Told of every finished call, for metrics. `code` is the gRPC status name. */
export type CallObserver = (call: {
  readonly method: string;
  readonly code: string;
  readonly durationMs: number;
}) => void;

export interface RpcServerDeps {
  readonly logger: Logger;
  readonly onCall?: CallObserver;
}

/** A gRPC server on one unix socket. Disposing it drains the calls in flight for up to `drainMs`, then ends them. */
export interface RpcServer extends AsyncDisposable {
  add<S extends ServiceName>(service: S, handlers: RpcHandlers<S>): void;
  /** Resolves when the socket (mode 0600) accepts calls. */
  listen(socketPath: string): Promise<void>;
}

export interface RpcServerOptions {
  readonly drainMs?: number;
}

/** kubelet polls these; they are logged at trace. */
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

  const wrap =
    (method: string, path: string, handler: AnyHandler) =>
    (call: ServerUnaryCall<unknown, unknown>, reply: sendUnaryData<unknown>): void => {
      const callId = randomUUID().slice(0, 8);
      const callLogger = logger.child({ rpc: path, callId });
      const level = CHATTER.has(method) ? 'trace' : 'debug';
      const startedMs = performance.now();
      const cancelled = new AbortController();
      call.on('cancelled', () => cancelled.abort(new DOMException('the caller went away', 'AbortError')));
      callLogger[level]({ request: call.request }, 'rpc received');

      const finish = (code: status): number => {
        const durationMs = performance.now() - startedMs;
        onCall?.({ method: path, code: status[code], durationMs });
        return Math.round(durationMs * 10) / 10;
      };
      // The handler is called inside a promise: grpc-js would take a rejected async handler down with the process.
      Promise.resolve()
        .then(() => handler(call.request, { signal: cancelled.signal, logger: callLogger }))
        .then(
          (response) => {
            callLogger[level]({ durationMs: finish(status.OK) }, 'rpc done');
            reply(null, response);
          },
          (error: unknown) => {
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
            reply({ code, details: messageForPeer(fault, callId) });
          },
        );
    };

  return {
    add(service, handlers) {
      const definition = serviceDefinition(service);
      const implementation: UntypedServiceImplementation = {};
      for (const [method, handler] of Object.entries(handlers)) {
        const path = definition[method]?.path;
        if (path === undefined) throw new Fault('bug', `service ${service} has no method ${method}`);
        implementation[method] = wrap(method, path, handler as AnyHandler);
      }
      server.addService(definition, implementation);
    },
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

function bind(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(new Fault('unavailable', `cannot listen on ${socketPath}`, { cause: error }));
    });
  });
}
