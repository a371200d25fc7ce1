/**
 * What the CRI proxy adds to a call: Version and ListContainers on a real containerd, directly and
 * through a proxy process in turn. `node test/bench/cri.ts` prints the figures; ratios and
 * differences of one run count, never bare times.
 */
import type { ClientHttp2Session } from 'node:http2';
import { join } from 'node:path';
import { startProcess } from '../../src/runtime/child-process.ts';
import { connectRpc } from '../../src/rpc/client.ts';
import { untilReady } from '../../src/demo/ready.ts';
import { frameMessage } from '../../src/core/policies/cri-call.ts';
import { encodeVersionRequest } from '../../src/rpc/wire-cri.ts';
import { openSession, send } from '../fakes/grpc-over-http2.ts';
import { startRealContainerd } from '../real/containerd.ts';
import { readUsage } from './process-usage.ts';
import { quantile } from './quantile.ts';

export interface CriBenchOptions {
  readonly rounds?: number;
  /** Calls of one kind in a round, one after the other. */
  readonly calls?: number;
}

export interface CriBenchRow {
  readonly name: string;
  readonly directP50Ms: number;
  readonly proxiedP50Ms: number;
  readonly directP99Ms: number;
  readonly proxiedP99Ms: number;
}

export interface CriBenchResult {
  readonly runtime: string;
  readonly rows: readonly CriBenchRow[];
  readonly proxyRssMib: number;
}

const SERVICE = '/runtime.v1.RuntimeService';
const CALLS = [
  { name: 'Version', path: `${SERVICE}/Version`, body: frameMessage(encodeVersionRequest()) },
  { name: 'ListContainers', path: `${SERVICE}/ListContainers`, body: frameMessage(new Uint8Array()) },
];
const PARALLEL = 16;

/** Runs the benchmark; needs root, containerd and runc. */
export async function benchCri({ rounds = 10, calls = 100 }: CriBenchOptions = {}): Promise<CriBenchResult> {
  await using runtime = await startRealContainerd();
  const listen = join(runtime.directory, 'proxy.sock');
  const proxy = await startProcess({
    name: 'cri-proxy',
    file: join(import.meta.dirname, '../../bin/keelson'),
    args: ['cri-proxy', '--listen', listen, '--runtime', runtime.socketPath, '--metrics-address', 'off'],
    logFile: join(runtime.directory, 'proxy.log'),
    env: { PATH: process.env['PATH'] ?? '' },
  });
  await using running = new AsyncDisposableStack();
  running.defer(async () => {
    await proxy.stop();
  });
  using client = connectRpc(listen);
  await untilReady(
    proxy,
    listen,
    (signal) => client.call('runtime.v1.RuntimeService', 'Version', { version: 'v1' }, { signal }),
    {},
  );
  const direct = await openSession(runtime.socketPath);
  const proxied = await openSession(listen);
  const rows: CriBenchRow[] = [];
  for (const parallel of [1, PARALLEL]) {
    for (const { name, path, body } of CALLS) {
      const times = { direct: [] as number[], proxied: [] as number[] };
      for (let round = -1; round < rounds; round += 1) {
        const measured = {
          direct: await measure(direct, path, body, calls, parallel),
          proxied: await measure(proxied, path, body, calls, parallel),
        };
        // The first round warms both up.
        if (round < 0) continue;
        times.direct.push(...measured.direct);
        times.proxied.push(...measured.proxied);
      }
      rows.push({
        name: parallel === 1 ? name : `${name} x${parallel}`,
        directP50Ms: quantile(times.direct, 0.5),
        proxiedP50Ms: quantile(times.proxied, 0.5),
        directP99Ms: quantile(times.direct, 0.99),
        proxiedP99Ms: quantile(times.proxied, 0.99),
      });
    }
  }
  direct.destroy();
  proxied.destroy();
  return { runtime: runtime.containerd.version, rows, proxyRssMib: (await readUsage(proxy.pid)).rssMib };
}

/** The result as lines for people. */
export function formatCriBench({ runtime, rows, proxyRssMib }: CriBenchResult): string {
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(20) : cell.padStart(12))).join('');
  return [
    `CRI proxy in front of containerd ${runtime}`,
    line(['call', 'direct p50', 'proxy p50', 'added p50', 'ratio', 'direct p99', 'proxy p99']),
    ...rows.map((row) =>
      line([
        row.name,
        `${row.directP50Ms.toFixed(3)} ms`,
        `${row.proxiedP50Ms.toFixed(3)} ms`,
        `${(row.proxiedP50Ms - row.directP50Ms).toFixed(3)} ms`,
        `${(row.proxiedP50Ms / row.directP50Ms).toFixed(2)}x`,
        `${row.directP99Ms.toFixed(3)} ms`,
        `${row.proxiedP99Ms.toFixed(3)} ms`,
      ]),
    ),
    `memory of the proxy: ${proxyRssMib.toFixed(0)} MiB`,
  ].join('\n');
}

async function measure(
  session: ClientHttp2Session,
  path: string,
  body: Uint8Array,
  calls: number,
  parallel: number,
): Promise<number[]> {
  const times: number[] = [];
  const worker = async (): Promise<void> => {
    for (let call = 0; call < calls / parallel; call += 1) {
      const startedMs = performance.now();
      const { status } = await send(session, path, body);
      if (status !== '0') throw new Error(`${path} answered with status ${status ?? 'none'}`);
      times.push(performance.now() - startedMs);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return times;
}

if (import.meta.main) process.stdout.write(`${formatCriBench(await benchCri())}\n`);
