import { type DestinationStream, pino, stdSerializers } from 'pino';

/** Fields of a log line; `err` is serialised with its stack and causes. */
export type LogFields = Readonly<Record<string, unknown>>;

/** What the project uses of a logger: a constant message and fields. */
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
  /** The process or component, e.g. `agent`. */
  readonly name: string;
}

/**
 * Field names whose values never reach a log, at any of the depths that our requests have. CSI marks its secrets with
 * `csi_secret`, CRI its credentials with `debug_redact`; `src/rpc/secret-fields.test.ts` holds this list against the protos.
 */
export const SECRET_FIELDS = [
  'secrets',
  'password',
  'auth',
  'identity_token',
  'registry_token',
  'token',
  'authorization',
] as const;

const DEPTHS = ['', '*.', '*.*.', '*.*.*.'] as const;

/** A JSON-lines logger on `destination` (default: standard error). */
export function createLogger(
  options: LoggerOptions,
  destination: DestinationStream = pino.destination(2),
): Logger {
  return pino(
    {
      name: options.name,
      level: options.level,
      timestamp: pino.stdTimeFunctions.isoTime,
      base: { name: options.name },
      serializers: { err: stdSerializers.errWithCause },
      redact: {
        paths: DEPTHS.flatMap((depth) => SECRET_FIELDS.map((field) => `${depth}${field}`)),
        censor: '[redacted]',
      },
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** Swallows everything: for tests and for one-shot commands. */
export const silentLogger: Logger = createLogger({ level: 'silent', name: 'silent' });
