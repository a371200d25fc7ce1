import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { fixed } from '../../../src/kube/credentials.ts';
import { type HttpResponse, readBody, Transport } from '../../../src/kube/transport.ts';
import { waitFor } from '../../cluster/wait.ts';

test('many requests share few connections, and streams have their own', async () => {
  let connections = 0;
  const waiting: ServerResponse[] = [];
  const server = createServer((request, response) => {
    if (request.url === '/watch') response.write('{}\n');
    else waiting.push(response);
  });
  server.on('connection', () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await using _closed = {
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const { port } = server.address() as AddressInfo;
  using transport = new Transport({
    access: {
      server: `http://127.0.0.1:${port}`,
      credentials: fixed({}),
      tls: {},
      namespace: 'default',
    },
    userAgent: 'test',
  });
  const { signal } = new AbortController();
  const send = (target: string, isStream = false): Promise<HttpResponse> =>
    transport.send({ method: 'GET', target, isStream, signal });
  const streams = await Promise.all(Array.from({ length: 10 }, () => send('/watch', true)));
  expect(connections).toBe(10);
  const answers = Array.from({ length: 50 }, async (_, index) => {
    const response = await send(`/object/${index}`);
    return await readBody(response, signal);
  });
  const someWait = (): Promise<true | undefined> => Promise.resolve(waiting.length > 0 || undefined);
  for (let answered = 0; answered < 50; ) {
    await waitFor('a request is at the server', someWait, { timeoutMs: 10_000 });
    for (const response of waiting.splice(0)) {
      response.end(`${answered}`);
      answered += 1;
    }
  }
  expect((await Promise.all(answers)).sort((a, b) => Number(a) - Number(b))).toEqual(
    Array.from({ length: 50 }, (_, index) => `${index}`),
  );
  expect(connections - 10).toBeLessThanOrEqual(6);
  for (const { body } of streams) body.destroy();
});
