import { Client, credentials, type ClientOptions, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { Fault } from '../core/fault.ts';
import { serviceDefinition } from './definitions.ts';
import type { MethodOf, RequestOf, ResponseIn, ServiceName } from './services.ts';
import { kindOfStatus } from './status.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default 120 s, as kubelet. */
  readonly timeoutMs?: number;
}

/** A connection to one gRPC socket. It connects on first use and reconnects automatically. */
export interface RpcClient extends Disposable {
  /**
   * Rejects with a Fault whose kind corresponds to the peer's status and whose message is the
   * peer's.
   */
  call<S extends ServiceName, M extends MethodOf<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options?: CallOptions,
  ): Promise<ResponseIn<S, M>>;
  /**
   * Returns the messages of a server-streaming method; ending the iteration early cancels the call.
   */
  stream<S extends ServiceName, M extends MethodOf<S>>(
    service: S,
    method: M,
    request: RequestOf<S, M>,
    options?: CallOptions,
  ): AsyncGenerator<ResponseIn<S, M>>;
}

/** As kubelet's client: 16 MiB messages, authority `localhost`, quick reconnects. */
const OPTIONS: ClientOptions = {
  'grpc.max_receive_message_length': 16 * 1024 * 1024,
  'grpc.max_send_message_length': 16 * 1024 * 1024,
  'grpc.default_authority': 'localhost',
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 3_000,
};

/** Creates a client of the unix socket at `socketPath`. */
export function connectRpc(socketPath: string): RpcClient {
  const client = new Client(`unix:${socketPath}`, credentials.createInsecure(), OPTIONS);
  return {
    call(service, method, request, { signal, timeoutMs = 120_000 } = {}) {
      const definition = serviceDefinition(service)[method];
      if (definition === undefined || definition.responseStream || definition.requestStream) {
        return Promise.reject(new Fault('bug', `${service} has no unary method ${String(method)}`));
      }
      return new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason as Error);
          return;
        }
        const call = client.makeUnaryRequest(
          definition.path,
          definition.requestSerialize,
          definition.responseDeserialize,
          request,
          new Metadata(),
          { deadline: Date.now() + timeoutMs },
          (error, response) => {
            signal?.removeEventListener('abort', cancel);
            if (error === null) resolve(response as never);
            else reject(faultOfStatus(error, definition.path));
          },
        );
        const cancel = (): void => call.cancel();
        signal?.addEventListener('abort', cancel, { once: true });
      });
    },
    async *stream(service, method, request, { signal, timeoutMs = 120_000 } = {}) {
      const definition = serviceDefinition(service)[method];
      if (definition === undefined || !definition.responseStream || definition.requestStream) {
        throw new Fault('bug', `${service} has no streaming method ${String(method)}`);
      }
      signal?.throwIfAborted();
      const call = client.makeServerStreamRequest(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      try {
        for await (const message of call) yield message as never;
      } catch (error) {
        throw faultOfStatus(error as ServiceError, definition.path);
      } finally {
        signal?.removeEventListener('abort', cancel);
        cancel();
      }
    },
    [Symbol.dispose]: () => client.close(),
  };
}

function faultOfStatus(error: ServiceError, path: string): Fault {
  return new Fault(kindOfStatus(error.code), error.details, {
    fields: { rpc: path, code: status[error.code] },
    cause: error,
  });
}
