import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { connectRpc } from '../../../src/rpc/client.ts';
import type { GetMetadataAllocatedResponse } from '../../../src/rpc/gen/csi/v1/GetMetadataAllocatedResponse.ts';
import { createRpcServer } from '../../../src/rpc/server.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';

let directory: string;
let socket: string;
const deps = { logger: silentLogger };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-rpc-'));
  socket = join(directory, 'csi.sock');
});
afterEach(() => rm(directory, { recursive: true }));

test('a typed call reaches its handler and the answer comes back, 64-bit sizes unharmed', async () => {
  await using server = createRpcServer({}, deps);
  server.add('csi.v1.Controller', {
    CreateVolume: async (request) => ({
      volume: {
        volume_id: `id of ${request.name}`,
        capacity_bytes: request.capacity_range?.required_bytes ?? '0',
      },
    }),
  });
  await server.listen(socket);
  using client = connectRpc(socket);
  const { volume } = await client.call('csi.v1.Controller', 'CreateVolume', {
    name: 'ü/☃',
    capacity_range: { required_bytes: '9007199254740993' },
  });
  expect(volume).toMatchObject({ volume_id: 'id of ü/☃', capacity_bytes: '9007199254740993' });
});

test('the socket is for its owner alone', async () => {
  await using server = createRpcServer({}, deps);
  await server.listen(socket);
  expect((await stat(socket)).mode & 0o777).toBe(0o600);
});

test.each([
  ['invalid', 'INVALID_ARGUMENT'],
  ['busy', 'ABORTED'],
  ['exhausted', 'RESOURCE_EXHAUSTED'],
  ['out-of-range', 'OUT_OF_RANGE'],
  ['precondition', 'FAILED_PRECONDITION'],
] as const)('a fault of kind %s reaches the peer as %s with its message', async (kind, code) => {
  await using server = createRpcServer({}, deps);
  server.add('csi.v1.Identity', {
    Probe: () => Promise.reject(new Fault(kind, 'volume pvc-1 wants 2 GiB')),
  });
  await server.listen(socket);
  using client = connectRpc(socket);
  await expect(client.call('csi.v1.Identity', 'Probe', {})).rejects.toMatchObject({
    kind,
    message: 'volume pvc-1 wants 2 GiB',
    fields: { code },
  });
});

test('an unclassified error shows the peer nothing of itself', async () => {
  await using server = createRpcServer({}, deps);
  server.add('csi.v1.Identity', {
    Probe: () => {
      throw new Error('/etc/secret is wrong');
    },
  });
  await server.listen(socket);
  using client = connectRpc(socket);
  const error = await client.call('csi.v1.Identity', 'Probe', {}).catch((reason: unknown) => reason as Fault);
  expect(error).toMatchObject({ kind: 'bug', fields: { code: 'INTERNAL' } });
  expect((error as Fault).message).toMatch(/^internal error; see call [0-9a-f]{8} in the log$/);
});

test('a method without a handler is unimplemented', async () => {
  await using server = createRpcServer({}, deps);
  server.add('csi.v1.Identity', {});
  await server.listen(socket);
  using client = connectRpc(socket);
  await expect(client.call('csi.v1.Identity', 'Probe', {})).rejects.toMatchObject({ kind: 'unsupported' });
});

test('a caller that goes away aborts the handler', async () => {
  await using server = createRpcServer({}, deps);
  const seen = Promise.withResolvers<string>();
  server.add('csi.v1.Identity', {
    Probe: (_request, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          seen.resolve('aborted');
          reject(signal.reason as Error);
        });
      }),
  });
  await server.listen(socket);
  using client = connectRpc(socket);
  await expect(client.call('csi.v1.Identity', 'Probe', {}, { timeoutMs: 1_000 })).rejects.toMatchObject({
    kind: 'timeout',
  });
  expect(await seen.promise).toBe('aborted');
});

test('disposing waits for the call in flight and removes the socket', async () => {
  const server = createRpcServer({}, deps);
  const gate = Promise.withResolvers<undefined>();
  const entered = Promise.withResolvers<undefined>();
  server.add('csi.v1.Identity', {
    Probe: async () => {
      entered.resolve(undefined);
      await gate.promise;
      return { ready: { value: true } };
    },
  });
  await server.listen(socket);
  using client = connectRpc(socket);
  const call = client.call('csi.v1.Identity', 'Probe', {});
  await entered.promise;
  const disposed = server[Symbol.asyncDispose]();
  gate.resolve(undefined);
  expect(await call).toMatchObject({ ready: { value: true } });
  await disposed;
  await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' });
});

describe('a stream', () => {
  const METHOD = ['csi.v1.SnapshotMetadata', 'GetMetadataAllocated', { snapshot_id: 's' }] as const;
  const message = (size: number): GetMetadataAllocatedResponse => ({
    block_metadata: Array.from({ length: size }, (_, index) => ({
      byte_offset: String(index),
      size_bytes: '1',
    })),
  });

  test('arrives whole and in order, and a fault in the middle does not look like the end', async () => {
    await using server = createRpcServer({}, deps);
    server.addStreams('csi.v1.SnapshotMetadata', {
      async *GetMetadataAllocated() {
        for (let size = 0; size < 50; size += 1) yield message(size);
      },
      async *GetMetadataDelta() {
        yield message(1);
        throw new Fault('out-of-range', 'the offset is 9 of 8');
      },
    });
    await server.listen(socket);
    using client = connectRpc(socket);
    const sizes: number[] = [];
    for await (const { block_metadata: blocks } of client.stream(...METHOD)) sizes.push(blocks.length);
    expect(sizes).toEqual(Array.from({ length: 50 }, (_, size) => size));
    const failing = client.stream('csi.v1.SnapshotMetadata', 'GetMetadataDelta', {});
    expect(await failing.next()).toMatchObject({
      done: false,
      value: { block_metadata: [{ size_bytes: '1' }] },
    });
    await expect(failing.next()).rejects.toMatchObject({
      kind: 'out-of-range',
      message: 'the offset is 9 of 8',
    });
    await expect(client.stream('csi.v1.Identity', 'Probe', {}).next()).rejects.toMatchObject({ kind: 'bug' });
    await expect(client.call(...METHOD)).rejects.toMatchObject({ kind: 'bug' });
  });

  test('is made as it is read, and ends with its reader', async () => {
    await using server = createRpcServer({}, deps);
    const ended = Promise.withResolvers<undefined>();
    let made = 0;
    server.addStreams('csi.v1.SnapshotMetadata', {
      async *GetMetadataAllocated() {
        try {
          for (;;) {
            made += 1;
            yield message(1_000);
          }
        } finally {
          ended.resolve(undefined);
        }
      },
    });
    await server.listen(socket);
    using client = connectRpc(socket);
    for await (const _ of client.stream(...METHOD)) {
      // Only the flow control of HTTP/2 ends this loop: the buffers of both sides hold a few
      // hundred at the most.
      let before = -1;
      while (before !== made) {
        before = made;
        await new Promise((resolve) => setImmediate(resolve));
      }
      break;
    }
    await ended.promise;
    expect(made).toBeLessThan(5_000);
  });
});

test('a socket that a live process serves is left alone, a stale one is replaced', async () => {
  const other = createServer().listen(socket);
  await new Promise((resolve) => other.once('listening', resolve));
  await using refused = createRpcServer({}, deps);
  await expect(refused.listen(socket)).rejects.toMatchObject({ kind: 'conflict' });
  await new Promise((resolve) => other.close(resolve));

  const { spawnSync } = await import('node:child_process');
  spawnSync(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ]);
  await stat(socket);
  await using server = createRpcServer({}, deps);
  server.add('csi.v1.Identity', { Probe: async () => ({}) });
  await server.listen(socket);
  using client = connectRpc(socket);
  await client.call('csi.v1.Identity', 'Probe', {});
});
