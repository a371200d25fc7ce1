import { dirname, join } from 'node:path';
import { createCriProxy } from '../../../node-agent/cri/proxy.ts';
import { Fault } from '../../core/fault.ts';
import { PROXY_ADMIN_SOCKET } from '../../core/policies/policy-report.ts';
import { startAdminServer } from '../../runtime/admin-server.ts';
import { Health } from '../../runtime/health.ts';
import { inheritedSocket } from '../../runtime/inherited-socket.ts';
import { createLogger, type LogLevel } from '../../runtime/logger.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import type { CliContext } from '../context.ts';

export interface CriProxyOptions {
  readonly listen: string;
  readonly runtime: string;
  readonly policies?: string[] | undefined;
  readonly adminSocket?: string | undefined;
  /** HOST:PORT, or `off`. */
  readonly metricsAddress: string;
  readonly logLevel: LogLevel;
}

/** Runs the CRI proxy until `signal` aborts. */
export async function runCriProxyProcess(
  { listen, runtime, policies, adminSocket, metricsAddress, logLevel }: CriProxyOptions,
  { env, signal }: Pick<CliContext, 'env' | 'signal'>,
): Promise<void> {
  const logger = createLogger({ level: logLevel, name: 'cri-proxy' });
  const metrics = createMetrics({ process: 'cri-proxy' });
  const proxy = createCriProxy(
    { listen, inherited: inheritedSocket(env, process.pid), runtime, policiesDirs: policies },
    { logger, metrics },
  );
  const health = new Health();
  health.add('runtime', async (checkSignal) => {
    await proxy.runtimeHealth(checkSignal);
  });
  health.add('policies', async () => {
    const [fault] = proxy.policies().faults;
    if (fault !== undefined) throw new Fault('precondition', fault.message);
  });
  const beside = join(dirname(listen.replace(/^unix:(\/\/)?/, '')), PROXY_ADMIN_SOCKET);
  await using _admin = await startAdminServer(
    {
      address: metricsAddress === 'off' ? undefined : metricsAddress,
      socketPath: adminSocket ?? beside,
    },
    { logger, metrics, health, status: async () => ({ policies: proxy.policies() }) },
  );
  await proxy.run(signal);
}
