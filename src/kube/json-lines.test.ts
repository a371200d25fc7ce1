import { describe, expect, it } from 'vitest';
import { isFault } from '../core/fault.ts';
import { readJsonLines } from './json-lines.ts';

async function* chunks(...texts: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield typeof text === 'string' ? Buffer.from(text) : text;
}

async function read(...texts: readonly (string | Uint8Array)[]): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const value of readJsonLines(chunks(...texts))) values.push(value);
  return values;
}

describe('readJsonLines', () => {
  it('yields one value for each line, wherever chunks end', async () => {
    expect(await read('{"a":1}\n{"a":', '2}\n\n{"a"', ':', '3}\r\n')).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }]);
  });

  it('decodes characters split between chunks', async () => {
    const bytes = Buffer.from('"ä€"\n');
    expect(await read(bytes.subarray(0, 2), bytes.subarray(2, 5), bytes.subarray(5))).toEqual(['ä€']);
  });

  it('rejects with unavailable at an invalid line, after yielding the lines before it', async () => {
    const values: unknown[] = [];
    const reading = async (): Promise<void> => {
      for await (const value of readJsonLines(chunks('1\n<html>\n2\n'))) values.push(value);
    };
    await expect(reading()).rejects.toSatisfy((error) => isFault(error, 'unavailable'));
    expect(values).toEqual([1]);
  });

  it('rejects with unavailable when the stream ends within an object', async () => {
    await expect(read('{"a":1}\n{"a":')).rejects.toSatisfy((error) => isFault(error, 'unavailable'));
  });
});
