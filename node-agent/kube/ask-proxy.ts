import { request } from 'node:http';
import { Fault } from '../../src/core/fault.ts';

const ASK_TIMEOUT_MS = 3_000;

/**
 * Reads `/status` of the CRI proxy behind `socketPath`; undefined when the socket does not exist.
 */
export function askProxy(socketPath: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path: '/status', timeout: ASK_TIMEOUT_MS }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        if (response.statusCode !== 200) {
          reject(
            new Fault(
              'unavailable',
              `the CRI proxy responded with status ${response.statusCode ?? 0}: ${text.trim()}`,
            ),
          );
          return;
        }
        try {
          resolve(JSON.parse(text));
        } catch (error) {
          reject(new Fault('unavailable', 'invalid JSON in the response of the CRI proxy', { cause: error }));
        }
      });
    });
    call.on('timeout', () => call.destroy(new Fault('timeout', 'the CRI proxy did not respond within 3 s')));
    call.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') resolve(undefined);
      else reject(Fault.from(error));
    });
    call.end();
  });
}
