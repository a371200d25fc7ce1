import { headerOf, frameMessage, unframeMessage } from '../../src/core/policies/cri-call.ts';
import { Fault } from '../../src/core/fault.ts';
import { encodeVersionRequest, readVersionResponse } from '../../src/rpc/wire-cri.ts';
import { openCall, type Upstream } from './upstream.ts';

export interface RuntimeVersion {
  readonly name: string;
  readonly version: string;
}

const HEADERS = [
  ...[':method', 'POST', ':scheme', 'http', ':path', '/runtime.v1.RuntimeService/Version'],
  ...[':authority', 'localhost', 'content-type', 'application/grpc', 'te', 'trailers'],
];

/**
 * Calls Version of the runtime, as kubelet does first. Rejects with `unavailable` when it does not
 * respond.
 */
export async function askVersion(upstream: Upstream, signal?: AbortSignal): Promise<RuntimeVersion> {
  const session = await upstream.session({ holdMs: 0, signal });
  const stream = openCall(session, HEADERS);
  const onAbort = (): void => stream.close();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const chunks: Buffer[] = [];
    let status: string | undefined;
    const take = (_headers: unknown, _flags: number, raw: string[]): void => {
      status = headerOf(raw, 'grpc-status') ?? status;
    };
    stream.on('response', take).on('trailers', take);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.end(frameMessage(encodeVersionRequest()));
    await new Promise((resolve) => stream.once('close', resolve));
    signal?.throwIfAborted();
    const message = unframeMessage(Buffer.concat(chunks));
    if (status !== '0' || message === undefined) {
      throw new Fault(
        'unavailable',
        `the container runtime does not answer Version (gRPC status ${status ?? 'none'}); check that its CRI plugin is enabled`,
      );
    }
    return readVersionResponse(message.payload);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}
