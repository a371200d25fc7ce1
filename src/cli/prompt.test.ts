import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { promptLine } from './prompt.ts';

async function prompt(
  input: string,
  signal = new AbortController().signal,
): Promise<readonly [answer: string, shown: string]> {
  const [stdin, stderr] = [new PassThrough(), new PassThrough()];
  stdin.end(input);
  const answer = await promptLine('sure? ', { stdin, stderr }, signal);
  return [answer, String(stderr.read())];
}

test.each([
  ['returns a line without surrounding white space', ' node-1 \nmore\n', 'node-1', 'sure? '],
  ['accepts a line without a newline', 'node-1', 'node-1', 'sure? '],
  ['returns an empty string for an empty line', '\n', '', 'sure? '],
  ['returns an empty string at the end of input', '', '', 'sure? \n'],
])('%s', async (_name, input, answer, shown) => {
  expect(await prompt(input)).toEqual([answer, shown]);
});

test('rejects when it is interrupted', async () => {
  const stop = AbortSignal.abort(new DOMException('stop', 'AbortError'));
  await expect(prompt('', stop)).rejects.toThrow('stop');
});
