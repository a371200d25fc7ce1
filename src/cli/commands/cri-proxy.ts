import { dirname, join } from 'node:path';
import { createCriProxy } from '../../../node-agent/cri/proxy.ts';
import { Fault } from '../../core/fault.ts';
import { PROXY_ADMIN_SOCKET } from '../../core/policies/policy-report.ts';
import { startAdminServer } from '../../runtime/admin-server.ts';
import { Health } from '../../runtime/health.ts';
import { createLogger, LOG_LEVELS, type LogLevel } from '../../runtime/logger.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import { type Command, parseFlags } from '../command.ts';
import { inheritedSocket } from '../../runtime/inherited-socket.ts';

const usage =
  'keelson cri-proxy --listen SOCKET --runtime SOCKET [--policies DIR]... [--admin-socket SOCKET] [--metrics-address HOST:PORT|off] [--log-level LEVEL]';

export const criProxyCommand: Command = {
  summary: 'stand between kubelet and the container runtime, and apply runtime policies',
  usage,
  async run({ args, env, signal }) {
    const flags = parseFlags(
      args,
      {
        listen: { type: 'string' },
        runtime: { type: 'string' },
        policies: { type: 'string', multiple: true },
        'admin-socket': { type: 'string' },
        'metrics-address': { type: 'string', default: '127.0.0.1:9811' },
        'log-level': { type: 'string', default: 'info' },
      },
      usage,
    );
    if (flags.listen === undefined || flags.runtime === undefined) {
      const missing = [flags.listen ?? '--listen', flags.runtime ?? '--runtime'].filter((flag) =>
        flag.startsWith('--'),
      );
      throw new Fault('invalid', `${missing.join(' and ')} must be given\nusage: ${usage}`);
    }
    const logger = createLogger({ level: logLevel(flags['log-level']), name: 'cri-proxy' });
    const metrics = createMetrics({ process: 'cri-proxy' });
    const proxy = createCriProxy(
      {
        listen: flags.listen,
        inherited: inheritedSocket(env, process.pid),
        runtime: flags.runtime,
        policiesDirs: flags.policies,
      },
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
    const address = flags['metrics-address'];
    await using _admin = await startAdminServer(
      {
        address: address === 'off' ? undefined : address,
        socketPath:
          flags['admin-socket'] ??
          join(dirname(flags.listen.replace(/^unix:(\/\/)?/, '')), PROXY_ADMIN_SOCKET),
      },
      { logger, metrics, health, status: async () => ({ policies: proxy.policies() }) },
    );
    await proxy.run(signal);
    return 0;
  },
};

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((candidate) => candidate === text);
  if (level === undefined) {
    throw new Fault('invalid', `--log-level ${text}: choose one of ${LOG_LEVELS.join(', ')}`);
  }
  return level;
}
