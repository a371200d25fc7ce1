/** A CRI proxy alone in a process: `node cri-proxy-process.ts LISTEN RUNTIME`. */
import { Registry } from 'prom-client';
import { createCriProxy } from '../../node-agent/cri/proxy.ts';
import { createLogger } from '../../src/runtime/logger.ts';

const [listen = '', runtime = ''] = process.argv.slice(2);
const end = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end.abort());
const logger = createLogger({ level: 'warn', name: 'cri-proxy' });
await createCriProxy({ listen, runtime, drainMs: 1_000 }, { logger, metrics: new Registry() }).run(
  end.signal,
);
