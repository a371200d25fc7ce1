import { Environment, EvaluationError, ParseError, TypeError as CelTypeError } from '@marcbachmann/cel-js';
import { Fault } from '../fault.ts';
import { FACT_CLASSES, FACT_TYPES, quantityBytes, toLabelValue } from './label-facts.ts';

/** Result type of an expression. */
export type ExpressionType = 'bool' | 'int' | 'string';

/** A type-checked expression over the result of `toCelFacts`. */
export type Expression = (facts: { readonly inventory: object; readonly node: object }) => unknown;

/** Far above practical rules; bounds the work of parsing. The evaluator bounds the run time. */
const LIMITS = { maxAstNodes: 2_000, maxDepth: 64, maxListElements: 256, maxMapEntries: 256 };

const environment = createEnvironment();

function createEnvironment(): Environment {
  const env = new Environment({ enableOptionalTypes: true, limits: LIMITS });
  for (const [name, fields] of Object.entries(FACT_TYPES)) {
    env.registerType(name, { ctor: FACT_CLASSES[name as keyof typeof FACT_CLASSES], fields });
  }
  env.registerVariable('inventory', 'Inventory');
  env.registerVariable('node', 'Node');
  env.registerFunction('quantity(string): int', quantityBytes);
  env.registerFunction('labelValue(string): string', toLabelValue);
  return env;
}

/**
 * Parses and type-checks `text`. Throws `invalid` with the position of the error; fields `line` and
 * `column` count from 1.
 */
export function compileExpression(text: string, type: ExpressionType): Expression {
  const { valid, type: found = 'dyn', error } = environment.check(text);
  if (!valid) throw expressionFault(error, text);
  if (found !== type && found !== 'dyn') {
    throw placed(text, 0, `the expression has type ${found}; expected ${type}`);
  }
  const parsed = environment.parse(text);
  return (facts) => {
    let value: unknown;
    try {
      value = parsed(facts) as unknown;
    } catch (error_) {
      throw expressionFault(error_, text);
    }
    if (celTypeOf(value) === type) return value;
    throw placed(text, 0, `the result has type ${celTypeOf(value)}; expected ${type}`);
  };
}

function celTypeOf(value: unknown): string {
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return 'double';
    case 'string':
      return 'string';
    default:
      return Array.isArray(value) ? 'list' : 'another type';
  }
}

function expressionFault(error: unknown, text: string): Fault {
  if (error instanceof Fault) return placed(text, 0, error.message);
  const known =
    error instanceof EvaluationError || error instanceof ParseError || error instanceof CelTypeError;
  // A refusal by one of Keelson's functions is the cause.
  const { cause } = error as { readonly cause?: unknown };
  const message = cause instanceof Fault ? cause.message : known ? error.summary : String(error);
  return placed(text, known ? (error.range?.start ?? 0) : 0, message);
}

function placed(text: string, offset: number, message: string): Fault {
  const before = text.slice(0, offset).split('\n');
  const line = before.length;
  const column = (before.at(-1)?.length ?? 0) + 1;
  return new Fault('invalid', `line ${line}, column ${column}: ${message}`, { fields: { line, column } });
}
