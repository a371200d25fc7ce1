import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { askLine } from './ask.ts';

async function ask(
  input: string,
  signal = new AbortController().signal,
): Promise<readonly [answer: string, shown: string]> {
  const [stdin, stderr] = [new PassThrough(), new PassThrough()];
  stdin.end(input);
  const answer = await askLine('sure? ', { stdin, stderr }, signal);
  return [answer, String(stderr.read())];
}

test.each([
  ['a line is the answer, without the space around it', ' node-1 \nmore\n', 'node-1', 'sure? '],
  ['a line that is not ended counts', 'node-1', 'node-1', 'sure? '],
  ['an empty line is no answer', '\n', '', 'sure? '],
  ['nor is the end of the input', '', '', 'sure? \n'],
])('%s', async (_name, input, answer, shown) => {
  expect(await ask(input)).toEqual([answer, shown]);
});

test('whoever interrupts is not taken for an answer', async () => {
  const stop = AbortSignal.abort(new DOMException('stop', 'AbortError'));
  await expect(ask('', stop)).rejects.toThrow('stop');
});
