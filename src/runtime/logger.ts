import { type DestinationStream, type Logger as PinoLogger, pino, stdSerializers } from 'pino';
import { withoutSecrets } from './redact.ts';

/** Fields of a log line; `err` is serialised with its stack and causes. */
export type LogFields = Readonly<Record<string, unknown>>;

/** A logger of constant messages with fields. */
export interface Logger {
  trace(fields: LogFields, message: string): void;
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  child(fields: LogFields): Logger;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LoggerOptions {
  readonly level: LogLevel;
  /** The process or component, for example `agent`. */
  readonly name: string;
}

/** Creates a JSON-lines logger on `destination` (default: standard error). */
export function createLogger(
  options: LoggerOptions,
  destination: DestinationStream = pino.destination(2),
): Logger {
  const root = pino(
    {
      name: options.name,
      level: options.level,
      timestamp: pino.stdTimeFunctions.isoTime,
      base: { name: options.name },
      serializers: { err: stdSerializers.errWithCause },
      formatters: { level: (label) => ({ level: label }), log: withoutSecrets },
    },
    destination,
  );
  return censoring(root);
}

/**
 * pino's own redaction knows fixed depths only, and its formatters do not see the fields of a
 * child.
 */
function censoring(inner: PinoLogger): Logger {
  return {
    trace: (fields, message) => inner.trace(fields, message),
    debug: (fields, message) => inner.debug(fields, message),
    info: (fields, message) => inner.info(fields, message),
    warn: (fields, message) => inner.warn(fields, message),
    error: (fields, message) => inner.error(fields, message),
    child: (fields) => censoring(inner.child(withoutSecrets(fields))),
  };
}

/** Discards everything: for tests and one-shot commands. */
export const silentLogger: Logger = createLogger({ level: 'silent', name: 'silent' });
