import { formatGrpcTimeout, parseGrpcTimeout } from './grpc-timeout.ts';
import { POLICY_OPERATIONS, type PolicyOperation } from './policy.ts';

/** HTTP/2 header lines as name, value, name, value: repeated names and their order are kept. */
export type RawHeaders = readonly string[];

/** gRPC status codes of the proxy's own answers. */
export const GrpcCode = {
  ok: 0,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  internal: 13,
  unavailable: 14,
} as const;
/** A gRPC status code. */
export type GrpcCode = (typeof GrpcCode)[keyof typeof GrpcCode];

const RUNTIME_SERVICE = '/runtime.v1.RuntimeService/';
const IMAGE_SERVICE = '/runtime.v1.ImageService/';

const OPERATION_BY_PATH: ReadonlyMap<string, PolicyOperation> = new Map(
  POLICY_OPERATIONS.map((operation) => [RUNTIME_SERVICE + operation, operation]),
);

/** Returns the operation of a path that policies apply to; undefined for other paths. */
export function policyOperation(path: string): PolicyOperation | undefined {
  return OPERATION_BY_PATH.get(path);
}

/**
 * Whether a call changes nothing, so that it may wait for a restarting runtime. Reads of methods
 * that newer versions of CRI add are recognised by CRI's naming.
 */
export function isRead(path: string): boolean {
  return /\/(Version|Status|RuntimeConfig|ImageFsInfo|GetContainerEvents|List\w+|Stream\w+|\w+(Status|Stats))$/.test(
    path,
  );
}

/** Whether a call lasts until one side ends it: it is ended, not awaited, when the proxy stops. */
export function isEndless(path: string): boolean {
  return path === `${RUNTIME_SERVICE}GetContainerEvents`;
}

/** Returns a method as a metric label: bounded, whatever a client sends. */
export function methodLabel(path: string): string {
  const method = path.startsWith(RUNTIME_SERVICE)
    ? path.slice(RUNTIME_SERVICE.length)
    : path.startsWith(IMAGE_SERVICE)
      ? path.slice(IMAGE_SERVICE.length)
      : '';
  return /^[A-Z][A-Za-z]{1,40}$/.test(method) ? method : 'other';
}

/** Returns the value of the first header `name`. */
export function headerOf(headers: RawHeaders, name: string): string | undefined {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] === name) return headers[index + 1];
  }
  return undefined;
}

/**
 * Returns the headers for the runtime: an `:authority` that every runtime accepts, the timeout less
 * the elapsed time, and without an encoding that the proxy has removed. Others are unchanged.
 */
export function upstreamHeaders(
  headers: RawHeaders,
  { spentMs, decoded }: { readonly spentMs: number; readonly decoded: boolean },
): string[] {
  const lines: string[] = [];
  let authority = false;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    let value = headers[index + 1] ?? '';
    if (name === ':authority') {
      value = 'localhost';
      authority = true;
    } else if (name === 'host') {
      continue;
    } else if (name === 'grpc-encoding' && decoded) {
      continue;
    } else if (name === 'grpc-timeout') {
      const timeoutMs = parseGrpcTimeout(value);
      if (timeoutMs !== undefined && spentMs >= 1) value = formatGrpcTimeout(timeoutMs - spentMs);
    }
    lines.push(name, value);
  }
  // Pseudo-headers come first (RFC 9113, 8.3).
  if (!authority) lines.unshift(':authority', 'localhost');
  return lines;
}

/** Returns a reply of status only ("Trailers-Only"). */
export function trailersOnly(code: GrpcCode, message: string): string[] {
  return [':status', '200', 'content-type', 'application/grpc', ...statusTrailers(code, message)];
}

/** Returns the trailers of a call that ends with `code`. */
export function statusTrailers(code: GrpcCode, message: string): string[] {
  return ['grpc-status', String(code), 'grpc-message', encodeGrpcMessage(message)];
}

/** Applies gRPC's percent-encoding: all but printable ASCII, and the percent sign. */
export function encodeGrpcMessage(message: string): string {
  return [...Buffer.from(message)]
    .map((byte) =>
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');
}

/** Maximum message size of CRI: kubelet, containerd and CRI-O all set it. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Length of gRPC's message prefix: compression flag and length. */
export const MESSAGE_PREFIX_BYTES = 5;

/** Adds gRPC's prefix: uncompressed, length. */
export function frameMessage(message: Uint8Array): Uint8Array {
  const framed = Buffer.alloc(MESSAGE_PREFIX_BYTES + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, MESSAGE_PREFIX_BYTES);
  return framed;
}

/** A message and whether it is compressed. */
export interface FramedMessage {
  readonly compressed: boolean;
  readonly payload: Uint8Array;
}

/** Returns the single message of a unary request; undefined for anything else. */
export function unframeMessage(body: Uint8Array): FramedMessage | undefined {
  if (body.length < MESSAGE_PREFIX_BYTES) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const flag = view.getUint8(0);
  if (flag > 1 || view.getUint32(1) !== body.length - MESSAGE_PREFIX_BYTES) return undefined;
  return { compressed: flag === 1, payload: body.subarray(MESSAGE_PREFIX_BYTES) };
}
