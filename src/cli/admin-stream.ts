import { type IncomingMessage, request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { AdminRefusal } from '../core/config/admin-paths.ts';
import { Fault, type FaultKind } from '../core/fault.ts';
import { unreachable } from '../runtime/admin-client.ts';

export interface AgentExchange {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Sent as the agent takes it. */
  readonly body?: NodeJS.ReadableStream;
}

/**
 * Calls the admin socket of a running agent, and resolves to its answer, to be read to its end: a stream that breaks off fails. Rejects with
 * the agent's own fault when it refuses.
 */
export async function exchangeWithAgent(
  socketPath: string,
  { method, path, body }: AgentExchange,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const call = request({ socketPath, path, method, signal });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    call.once('response', resolve);
    call.once('error', (error) => reject(signal.aborted ? error : unreachable(socketPath, error)));
  });
  if (body === undefined) call.end();
  else {
    pipeline(body, call).catch((error: unknown) => {
      // An agent that refuses in the middle closes its end, and its answer says why; what fails to be read is our own to say.
      if (!call.destroyed) call.destroy(error instanceof Error ? error : undefined);
    });
  }
  const answer = await answered;
  if (answer.statusCode === 200) return answer;
  let text = '';
  for await (const chunk of answer) text += String(chunk);
  // What is left of the body is not wanted any more.
  call.destroy();
  throw refusalOf(text, answer.statusCode ?? 0);
}

function refusalOf(text: string, code: number): Fault {
  try {
    const { kind, message } = JSON.parse(text) as AdminRefusal;
    return new Fault(kind as FaultKind, message);
  } catch {
    return new Fault('unavailable', `the agent answered ${code}: ${text.trim()}`);
  }
}
