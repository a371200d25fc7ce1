import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { getFromAgent } from '../../../src/runtime/admin-client.ts';
import { startAdminServer } from '../../../src/runtime/admin-server.ts';
import { Health } from '../../../src/runtime/health.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { createMetrics } from '../../../src/runtime/metrics.ts';

function deps() {
  const health = new Health({ timeoutMs: 50 });
  return {
    health,
    metrics: createMetrics({ process: 'test' }),
    logger: silentLogger,
    status: () => Promise.resolve({ pools: 1 }),
  };
}

test('readyz reports which check fails and why, and a hanging check does not hide the others', async () => {
  const parts = deps();
  await using server = await startAdminServer({ address: '127.0.0.1:0' }, parts);
  const url = `http://${server.address ?? ''}`;
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  parts.health.add('storage', () => new Promise(() => undefined));
  parts.health.add('network', () => Promise.resolve());
  const response = await fetch(`${url}/readyz`);
  expect(response.status).toBe(503);
  expect(await response.json()).toEqual({
    ok: false,
    checks: [
      { name: 'storage', ok: false, reason: 'the operation timed out' },
      { name: 'network', ok: true },
    ],
  });
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

test('metrics carry the process figures and its labels', async () => {
  await using server = await startAdminServer({ address: '127.0.0.1:0' }, deps());
  const text = await (await fetch(`http://${server.address ?? ''}/metrics`)).text();
  expect(text).toMatch(/nodejs_eventloop_lag_seconds\{process="test"\} \d/);
  expect(text).not.toContain('nodejs_eventloop_lag_p99_seconds');
});

test('an idle process sleeps, whatever it measures of itself', async () => {
  const metrics = new URL('../../../src/runtime/metrics.ts', import.meta.url).href;
  const program = `const { createMetrics } = await import(${JSON.stringify(metrics)});
createMetrics({ process: 'test' });
setTimeout(() => console.log(performance.nodeTiming.uvMetricsInfo.loopCount), 2_000);`;
  const { stdout } = await runCommand(process.execPath, ['--input-type=module', '--eval', program]);
  expect(Number(stdout)).toBeGreaterThan(0);
  expect(Number(stdout)).toBeLessThan(100);
});

test('the status is served on the private socket only', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-admin-'));
  const socketPath = join(directory, 'admin.sock');
  {
    await using server = await startAdminServer({ address: '127.0.0.1:0', socketPath }, deps());
    const stop = new AbortController();
    expect(await getFromAgent(socketPath, '/status', stop.signal)).toEqual({ pools: 1 });
    expect((await fetch(`http://${server.address ?? ''}/status`)).status).toBe(404);
  }
  await rm(directory, { recursive: true });
});

test('an address in use or malformed is refused with its name', async () => {
  await using server = await startAdminServer({ address: '127.0.0.1:0' }, deps());
  await expect(startAdminServer({ address: server.address }, deps())).rejects.toMatchObject({
    kind: 'conflict',
  });
  await expect(startAdminServer({ address: 'nonsense' }, deps())).rejects.toThrow(
    /nonsense is not HOST:PORT/,
  );
});
