import { request } from 'node:http';
import { Fault } from '../core/fault.ts';

/**
 * Sends GET `path` to the admin socket of a running agent. Rejects with `unavailable` when nothing
 * listens.
 */
export function getFromAgent(socketPath: string, path: string, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, signal, timeout: 5_000 }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(body) as unknown);
        else
          reject(
            new Fault(
              'unavailable',
              `the agent responded to ${path} with status ${response.statusCode ?? 0}: ${body.trim()}`,
            ),
          );
      });
    });
    call.on('timeout', () =>
      call.destroy(new Fault('timeout', `the agent at ${socketPath} did not respond within 5 s`)),
    );
    call.on('error', (error) => reject(unreachable(socketPath, error)));
    call.end();
  });
}

/** Returns the fault for a failed call of the admin socket. */
export function unreachable(socketPath: string, error: NodeJS.ErrnoException): Fault {
  if (error.code !== 'ENOENT' && error.code !== 'ECONNREFUSED') return Fault.from(error);
  return new Fault(
    'unavailable',
    `no agent listens at ${socketPath}; start it with 'keelson agent', or set its directory with --run-dir`,
    { cause: error },
  );
}
