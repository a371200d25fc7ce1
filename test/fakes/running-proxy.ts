import { Registry } from 'prom-client';
import { createCriProxy, type CriProxy, type CriProxyOptions } from '../../node-agent/cri/proxy.ts';
import { type Logger, type LogFields, silentLogger } from '../../src/runtime/logger.ts';

/** A proxy that serves in this process until it is disposed. */
export interface RunningProxy extends AsyncDisposable {
  readonly proxy: CriProxy;
  readonly registry: Registry;
  stop(): Promise<void>;
}

/** Starts a proxy and waits until it serves. */
export async function startCriProxy(
  options: CriProxyOptions,
  logger: Logger = silentLogger,
): Promise<RunningProxy> {
  const registry = new Registry();
  const proxy = createCriProxy({ drainMs: 2_000, ...options }, { logger, metrics: registry });
  const end = new AbortController();
  const ready = Promise.withResolvers<undefined>();
  const running = proxy.run(end.signal, () => ready.resolve(undefined));
  await Promise.race([ready.promise, running]);
  const stop = async (): Promise<void> => {
    end.abort();
    await running;
  };
  return { proxy, registry, stop, [Symbol.asyncDispose]: stop };
}

export interface LogLine {
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps its records. */
export function recordingLogger(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const record = (fields: LogFields, message: string): void => {
    lines.push({ message, fields });
  };
  const logger = {
    lines,
    trace: record,
    debug: record,
    info: record,
    warn: record,
    error: record,
    child: () => logger,
  };
  return logger;
}
