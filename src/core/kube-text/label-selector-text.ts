import { isLabelKey } from './document-schema.ts';
import { Fault } from '../fault.ts';
import { isLabelValue } from './label-keys.ts';
import type { LabelSelector } from './label-selector.ts';

type Requirement = NonNullable<LabelSelector['matchExpressions']>[number];

interface Token {
  readonly text: string;
  /** Position, from 1. */
  readonly at: number;
  readonly isWord: boolean;
}

const TOKEN = /\s*(?:(==|!=|[=!(),])|([^\s=!(),<>]+))/y;
const GRAMMAR =
  'KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (VALUE, …) or KEY notin (VALUE, …), joined by commas';

/**
 * Parses a label selector in text form: `media=ssd,tier in (gold,silver),!slow`. All requirements
 * must hold; an empty text has none. Throws `invalid` with the position of the error; `field` is
 * named in the message.
 */
export function parseLabelSelector(text: string, field: string): LabelSelector {
  const parser = new Parser(text, field);
  return { matchExpressions: parser.requirements() };
}

class Parser {
  readonly #text: string;
  readonly #field: string;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(text: string, field: string) {
    this.#text = text;
    this.#field = field;
    this.#tokens = this.#read();
  }

  requirements(): readonly Requirement[] {
    if (this.#peek() === undefined) return [];
    const all = [this.#requirement()];
    while (this.#peek() !== undefined) {
      this.#expect(',', 'a comma or the end');
      all.push(this.#requirement());
    }
    return all;
  }

  #requirement(): Requirement {
    if (this.#take('!')) return { key: this.#key(), operator: 'DoesNotExist' };
    const key = this.#key();
    const operator = this.#peek();
    if (operator === undefined || operator.text === ',') return { key, operator: 'Exists' };
    this.#next += 1;
    switch (operator.text) {
      case '=':
      case '==':
        return { key, operator: 'In', values: [this.#value()] };
      case '!=':
        return { key, operator: 'NotIn', values: [this.#value()] };
      case 'in':
        return { key, operator: 'In', values: this.#values() };
      case 'notin':
        return { key, operator: 'NotIn', values: this.#values() };
      default:
        throw this.#fault(operator, `=, !=, in, notin or a comma after ${key}`);
    }
  }

  #key(): string {
    const token = this.#peek();
    if (token?.isWord !== true || !isLabelKey(token.text)) {
      throw this.#fault(token, 'a label key like media or example.com/media');
    }
    this.#next += 1;
    return token.text;
  }

  /** The text after `=`; the empty value is allowed. */
  #value(): string {
    const token = this.#peek();
    if (token === undefined || token.text === ',') return '';
    return this.#word(token);
  }

  #values(): readonly string[] {
    this.#expect('(', 'values in parentheses');
    const values = [this.#word(this.#peek())];
    while (this.#take(',')) values.push(this.#word(this.#peek()));
    this.#expect(')', 'a comma or the closing parenthesis');
    return values;
  }

  #word(token: Token | undefined): string {
    if (token?.isWord !== true || !isLabelValue(token.text)) {
      throw this.#fault(token, 'a label value: letters, digits, ".", "_" and "-", at most 63');
    }
    this.#next += 1;
    return token.text;
  }

  #expect(text: string, expected: string): void {
    if (!this.#take(text)) throw this.#fault(this.#peek(), expected);
  }

  #take(text: string): boolean {
    if (this.#peek()?.text !== text) return false;
    this.#next += 1;
    return true;
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#next];
  }

  #read(): readonly Token[] {
    const tokens: Token[] = [];
    const end = this.#text.trimEnd().length;
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < end) {
      const from = TOKEN.lastIndex;
      const match = TOKEN.exec(this.#text);
      if (match === null) {
        const at = from + this.#text.slice(from).search(/\S/);
        throw this.#fault(
          { text: this.#text.charAt(at), at: at + 1, isWord: false },
          'a key, a value or one of = ! ( ) ,',
        );
      }
      const [, sign, word = ''] = match;
      const text = sign ?? word;
      tokens.push({ text, at: TOKEN.lastIndex - text.length + 1, isWord: sign === undefined });
    }
    return tokens;
  }

  #fault(found: Token | undefined, expected: string): Fault {
    const what = found === undefined ? 'the end' : `${JSON.stringify(found.text)} at character ${found.at}`;
    return new Fault(
      'invalid',
      `${this.#field}: invalid label selector ${JSON.stringify(this.#text)}: found ${what}, expected ${expected}; the form is ${GRAMMAR}`,
    );
  }
}
