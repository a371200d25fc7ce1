import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type ServerHttp2Stream,
} from 'node:http2';
import {
  GrpcCode,
  headerOf,
  isEndless,
  isRead,
  policyOperation,
  type RawHeaders,
  statusTrailers,
  trailersOnly,
  upstreamHeaders,
} from '../../src/core/policies/cri-call.ts';
import { Fault, type FaultKind } from '../../src/core/fault.ts';
import { parseGrpcTimeout } from '../../src/core/policies/grpc-timeout.ts';
import type { PolicyOperation } from '../../src/core/policies/policy.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { deadlineSignal } from '../../src/runtime/signals.ts';
import type { CallObserver, Reviewer } from './forwarder.ts';
import { readRequest, type UnaryRequest } from './unary-request.ts';
import { openCall, type Upstream } from './upstream.ts';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants;
const END_STREAM = 0x1;
/** Without `sendDate: false` Node would add a header to the runtime's. */
const TRAILERS_ONLY = { endStream: true, sendDate: false };
const WITH_TRAILERS = { waitForTrailers: true, sendDate: false };
const CODE_BY_KIND: Partial<Record<FaultKind, GrpcCode>> = {
  timeout: GrpcCode.deadlineExceeded,
  exhausted: GrpcCode.resourceExhausted,
  unavailable: GrpcCode.unavailable,
};

export interface RelayDeps {
  readonly upstream: Upstream;
  readonly reviewer: Reviewer;
  readonly observer: CallObserver;
  readonly clock: Clock;
}

export interface RelayOptions {
  /** How long a read waits for an unavailable runtime. */
  readonly holdReadsMs: number;
}

/**
 * One call: copies headers, messages, trailers and resets in both directions until either side ends
 * it.
 */
export class CallRelay {
  readonly path: string;
  readonly #headers: RawHeaders;
  readonly #down: ServerHttp2Stream;
  readonly #options: RelayOptions;
  readonly #deps: RelayDeps;
  /** Created when something waits: most calls never do. */
  #disconnected: AbortController | undefined;
  readonly #startedMs: number;
  #sentMs: number | undefined;
  #answeredMs: number | undefined;
  #up: ClientHttp2Stream | undefined;
  #trailers: RawHeaders | undefined;
  #code: string | undefined;
  #answered = false;
  #bodyEnded = false;
  #ended = false;

  constructor(down: ServerHttp2Stream, headers: RawHeaders, options: RelayOptions, deps: RelayDeps) {
    this.#down = down;
    this.#headers = headers;
    this.#options = options;
    this.#deps = deps;
    this.#startedMs = deps.clock.monotonicMs();
    this.path = headerOf(headers, ':path') ?? '';
  }

  get endless(): boolean {
    return isEndless(this.path);
  }

  /** Starts the call; it ends with the client's stream. */
  start(): void {
    const { observer, reviewer, upstream } = this.#deps;
    observer.started(this.path);
    this.#down.on('error', () => undefined);
    this.#down.on('wantTrailers', () =>
      this.#guard(() => this.#down.sendTrailers(toHeaderObject(this.#trailers ?? []))),
    );
    this.#down.once('close', () => this.#onDownClosed());
    const operation = policyOperation(this.path);
    if (operation !== undefined && reviewer.wants(operation)) {
      this.#run(() => this.#reviewed(operation));
      return;
    }
    const session = upstream.ready;
    if (session !== undefined) this.#guard(() => this.#stream(session));
    else this.#run(async () => this.#stream(await this.#session()));
  }

  /** Ends the call from here, for example because the proxy stops. */
  fail(code: GrpcCode, message: string): void {
    if (this.#ended || this.#down.closed || this.#down.destroyed) return;
    this.#ended = true;
    this.#code = String(code);
    this.#guard(() => this.#answerWith(code, message));
    this.#up?.close(NGHTTP2_CANCEL);
  }

  #answerWith(code: GrpcCode, message: string): void {
    if (this.#answered) {
      this.#trailers = statusTrailers(code, message);
      this.#down.end();
    } else {
      this.#down.respond(trailersOnly(code, message), TRAILERS_ONLY);
      // Tells a client that still sends that its data is not read (RFC 9113, 8.1).
      if (!this.#down.readableEnded) this.#down.close(NGHTTP2_NO_ERROR);
    }
  }

  /**
   * Node's HTTP/2 throws on header lines that it considers invalid, and on closed sessions: only
   * this call fails.
   */
  #guard(work: () => void): void {
    try {
      work();
    } catch {
      this.#ended = true;
      this.#code = String(GrpcCode.internal);
      this.#up?.close(NGHTTP2_CANCEL);
      this.#down.close(NGHTTP2_INTERNAL_ERROR);
    }
  }

  #run(work: () => Promise<void>): void {
    const disconnected = new AbortController();
    this.#disconnected = disconnected;
    work().catch((error: unknown) => {
      if (disconnected.signal.aborted) return;
      const fault = Fault.from(error);
      this.fail(CODE_BY_KIND[fault.kind] ?? GrpcCode.internal, fault.message);
    });
  }

  async #session(): Promise<ClientHttp2Session> {
    const timeoutMs = parseGrpcTimeout(headerOf(this.#headers, 'grpc-timeout'));
    const { clock, upstream } = this.#deps;
    using deadline =
      timeoutMs === undefined
        ? undefined
        : deadlineSignal(timeoutMs, { signal: this.#disconnected?.signal, clock });
    const holdMs = isRead(this.path) ? this.#options.holdReadsMs : 0;
    // At most half of the client's timeout, so that it receives the reason instead of exceeding its
    // deadline.
    return await upstream.session({
      holdMs: Math.min(holdMs, (timeoutMs ?? Number.POSITIVE_INFINITY) / 2),
      signal: deadline?.signal ?? this.#disconnected?.signal,
    });
  }

  /** Reads the whole request before the runtime sees the call: a denied call never reaches it. */
  async #reviewed(operation: PolicyOperation): Promise<void> {
    const request = await readRequest(this.#down, headerOf(this.#headers, 'grpc-encoding'));
    if (this.#down.destroyed) return;
    const verdict = this.#deps.reviewer.review(operation, request.message, request.unreadable);
    switch (verdict.kind) {
      case 'deny':
        this.fail(verdict.code, verdict.message);
        return;
      case 'forward':
        this.#send(await this.#session(), request.body, false);
        return;
      case 'replace':
        this.#send(await this.#session(), request.withMessage(verdict.request), request.encoded);
    }
  }

  #send(session: ClientHttp2Session, body: UnaryRequest['body'], decoded: boolean): void {
    this.#open(session, decoded)?.end(body);
  }

  #stream(session: ClientHttp2Session): void {
    const up = this.#open(session, false);
    if (up === undefined) return;
    const down = this.#down;
    down.on('data', (chunk: Buffer) => {
      if (!up.destroyed && !up.write(chunk)) down.pause();
    });
    down.on('end', () => up.end());
    up.on('drain', () => down.resume());
  }

  #open(session: ClientHttp2Session, decoded: boolean): ClientHttp2Stream | undefined {
    if (this.#down.destroyed) return undefined;
    this.#sentMs = this.#deps.clock.monotonicMs();
    const spentMs = this.#sentMs - this.#startedMs;
    const up = openCall(session, upstreamHeaders(this.#headers, { spentMs, decoded }));
    this.#up = up;
    const down = this.#down;
    up.on('response', (_headers, flags, raw: string[]) =>
      this.#guard(() => this.#onResponse(raw, (flags & END_STREAM) !== 0)),
    );
    up.on('trailers', (_headers, _flags, raw: string[]) => {
      this.#setTrailers(raw);
      this.#finishIfComplete();
    });
    up.on('data', (chunk: Buffer) => {
      if (!down.destroyed && !this.#ended && !down.write(chunk)) up.pause();
    });
    down.on('drain', () => up.resume());
    up.on('end', () => {
      this.#bodyEnded = true;
      this.#finishIfComplete();
    });
    up.once('close', () => this.#onUpClosed(up.rstCode, session));
    return up;
  }

  #onResponse(raw: string[], trailersOnlyReply: boolean): void {
    if (this.#ended || this.#down.destroyed) return;
    this.#answered = true;
    if (!trailersOnlyReply) {
      this.#down.respond(raw, WITH_TRAILERS);
      return;
    }
    this.#ended = true;
    this.#setTrailers(raw);
    this.#down.respond(raw, TRAILERS_ONLY);
    if (!this.#down.readableEnded) this.#down.close(NGHTTP2_NO_ERROR);
  }

  #setTrailers(raw: RawHeaders): void {
    this.#answeredMs = this.#deps.clock.monotonicMs();
    this.#trailers = raw;
    this.#code = headerOf(raw, 'grpc-status');
  }

  /** The runtime's last DATA and its trailers are two events, in either order. */
  #finishIfComplete(): void {
    if (this.#ended || !this.#bodyEnded || this.#trailers === undefined || this.#down.destroyed) return;
    this.#ended = true;
    this.#down.end();
  }

  #onUpClosed(rstCode: number, session: ClientHttp2Session): void {
    if (this.#ended || this.#down.destroyed) return;
    // A reset by the runtime is passed on; NO_ERROR without trailers, or a lost connection, means
    // that the answer is missing.
    const reset = rstCode !== NGHTTP2_NO_ERROR && !session.destroyed;
    if (reset) {
      this.#ended = true;
      this.#down.close(rstCode);
      return;
    }
    this.fail(
      GrpcCode.unavailable,
      'the container runtime closed the connection before it answered; it may have executed the call',
    );
  }

  #onDownClosed(): void {
    this.#disconnected?.abort(new DOMException('the client disconnected', 'AbortError'));
    const up = this.#up;
    if (up !== undefined && !up.closed)
      up.close(this.#ended ? NGHTTP2_CANCEL : this.#down.rstCode || NGHTTP2_CANCEL);
    const nowMs = this.#deps.clock.monotonicMs();
    const runtimeMs = this.#sentMs === undefined ? undefined : (this.#answeredMs ?? nowMs) - this.#sentMs;
    const addedMs = runtimeMs === undefined ? undefined : nowMs - this.#startedMs - runtimeMs;
    this.#deps.observer.finished(this.path, this.#code ?? 'reset', addedMs);
  }
}

/**
 * `sendTrailers` does not accept header lines; a repeated name becomes a list, which it writes as
 * lines again.
 */
function toHeaderObject(lines: RawHeaders): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = {};
  for (let index = 0; index < lines.length; index += 2) {
    const name = lines[index] ?? '';
    const value = lines[index + 1] ?? '';
    const before = object[name];
    object[name] =
      before === undefined ? value : [...(typeof before === 'string' ? [before] : before), value];
  }
  return object;
}
