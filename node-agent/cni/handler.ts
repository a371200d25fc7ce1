import type { Attachment, AttachmentKey } from '../../src/core/network/attachment.ts';
import { toCniError } from '../../src/core/cni/cni-error.ts';
import {
  type CniCall,
  type CniRequest,
  parseCniRequest,
  statedVersion,
} from '../../src/core/cni/cni-request.ts';
import { checkPrevResult, formatAddResult } from '../../src/core/cni/cni-result.ts';
import { CNI_CODES } from '../../src/core/cni/cni-version.ts';
import { Fault } from '../../src/core/fault.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { AttachRequest } from '../network/attachments/attachments.ts';
import type { CniAnswer } from './frame.ts';

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The pod network, as CNI uses it. */
export interface CniNetwork {
  attach(request: AttachRequest, options: CallOptions): Promise<Attachment>;
  detach(key: AttachmentKey, options?: CallOptions): Promise<void>;
  check(key: AttachmentKey, netns: string, options: CallOptions): Promise<Attachment>;
  gc(network: string, valid: readonly AttachmentKey[], options: CallOptions): Promise<void>;
  /** Throws when no pod can be attached to this node. */
  status(): unknown;
}

export interface HandlerDeps {
  readonly network: CniNetwork;
  readonly logger: Logger;
}

/**
 * Serves one call; every fault becomes an answer. `signal` aborts when the caller has disconnected.
 */
export async function handleCall(
  call: CniCall,
  { network, logger }: HandlerDeps,
  options: CallOptions,
): Promise<CniAnswer> {
  const started = performance.now();
  const log = logger.child({
    command: call.environment.get('CNI_COMMAND'),
    containerId: call.environment.get('CNI_CONTAINERID'),
    ifname: call.environment.get('CNI_IFNAME'),
    ...traceOf(call),
  });
  try {
    const request = parseCniRequest(call);
    const stdout = await serve(request, { network, logger: log }, options);
    const durationMs = Math.round((performance.now() - started) * 100) / 100;
    if (request.command === 'STATUS') log.trace({ durationMs }, 'served a CNI call');
    else log.info({ durationMs }, 'served a CNI call');
    return { status: 0, stdout };
  } catch (error) {
    const answer = toCniError(Fault.from(error), statedVersion(call.stdin));
    const code = call.environment.get('CNI_COMMAND') === 'STATUS' ? statusCode(answer.code) : answer.code;
    log.warn({ code, err: error }, 'refused a CNI call');
    return { status: 1, stdout: `${JSON.stringify({ ...answer, code })}\n` };
  }
}

async function serve(
  request: CniRequest,
  { network, logger }: HandlerDeps,
  options: CallOptions,
): Promise<string> {
  switch (request.command) {
    case 'ADD': {
      if (request.bandwidth) logger.debug({}, 'traffic shaping is not supported; ignored it');
      const attachment = await network.attach(request, options);
      return `${JSON.stringify(formatAddResult(attachment, request))}\n`;
    }
    case 'DEL':
      // Continues when the caller has disconnected: the attachment would have to be removed later
      // anyway.
      await network.detach(request);
      return '';
    case 'CHECK':
      checkPrevResult(await network.check(request, request.netns, options), request.prevResult);
      return '';
    case 'GC':
      await network.gc(request.network, request.valid, options);
      return '';
    case 'STATUS':
      network.status();
      return '';
  }
}

/** STATUS reports whatever prevents ADD as code 50; errors of the call itself keep their code. */
function statusCode(code: number): number {
  return code < CNI_CODES.tryAgainLater ? code : CNI_CODES.unavailable;
}

/** W3C trace context, as runtimes pass it in the environment (CNI 1.1). */
function traceOf({ environment }: CniCall): Readonly<Record<string, string>> {
  const traceparent = environment.get('TRACEPARENT');
  return traceparent === undefined ? {} : { traceparent };
}
