import { expect, it } from 'vitest';
import { isFault } from '../../src/core/fault.ts';
import { decodeRequest, encodeAnswer, encodeRequest } from './frame.ts';

it('a request survives the way, with empty values, equals signs and any input', () => {
  const call = {
    environment: new Map([
      ['CNI_COMMAND', 'ADD'],
      ['CNI_ARGS', 'A=1;B=2'],
      ['CNI_NETNS', ''],
    ]),
    stdin: '{"é":"\u0000"}',
  };
  expect(decodeRequest(encodeRequest(call))).toEqual(call);
});

it.each([
  ['nothing', ''],
  ['another protocol', 'GET / HTTP/1.1\r\n\r\n'],
  ['another version', 'keelson-cni/2\0A=1\0\0'],
  ['an environment without end', 'keelson-cni/1\0A=1\0B=2'],
])('%s is not a request', (_, payload) => {
  let error: unknown;
  try {
    decodeRequest(Buffer.from(payload));
  } catch (caught) {
    error = caught;
  }
  expect(isFault(error, 'invalid')).toBe(true);
});

it('an answer is its length, its status and its text', () => {
  expect(encodeAnswer({ status: 1, stdout: 'é' }).toString('hex')).toBe('0000000301c3a9');
});
