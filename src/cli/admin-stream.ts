import { type IncomingMessage, request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { AdminRefusal } from '../core/config/admin-paths.ts';
import { Fault, type FaultKind } from '../core/fault.ts';
import { unreachable } from '../runtime/admin-client.ts';

interface AgentExchange {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Streamed to the agent with back-pressure. */
  readonly body?: NodeJS.ReadableStream;
}

/**
 * Calls the admin socket of a running agent. Resolves to the response, whose body the caller reads
 * to its end; a truncated body fails. Rejects with the agent's fault if it rejects the call.
 */
export async function exchangeWithAgent(
  socketPath: string,
  { method, path, body }: AgentExchange,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const call = request({ socketPath, path, method, signal });
  const responded = new Promise<IncomingMessage>((resolve, reject) => {
    call.once('response', resolve);
    call.once('error', (error) => reject(signal.aborted ? error : unreachable(socketPath, error)));
  });
  if (body === undefined) call.end();
  else {
    pipeline(body, call).catch((error: unknown) => {
      // An agent that rejects the body early closes the connection and responds. Other errors are
      // local.
      if (!call.destroyed) call.destroy(error instanceof Error ? error : undefined);
    });
  }
  const response = await responded;
  if (response.statusCode === 200) return response;
  let text = '';
  for await (const chunk of response) text += String(chunk);
  // Stops sending the rest of the body.
  call.destroy();
  throw faultOf(text, response.statusCode ?? 0);
}

function faultOf(text: string, code: number): Fault {
  try {
    const { kind, message } = JSON.parse(text) as AdminRefusal;
    return new Fault(kind as FaultKind, message);
  } catch {
    return new Fault('unavailable', `agent returned ${code}: ${text.trim()}`);
  }
}
