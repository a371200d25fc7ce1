import { EventEmitter } from 'node:events';
import { expect, it } from 'vitest';
import { ignoreClosedPipe } from './closed-pipe.ts';

function streamWithGuard(): EventEmitter {
  const stream = new EventEmitter();
  ignoreClosedPipe(stream);
  return stream;
}

it('ignores that the reader of an output closed its end', () => {
  const error = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  expect(() => streamWithGuard().emit('error', error)).not.toThrow();
});

it('rethrows other errors of an output', () => {
  const error = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  expect(() => streamWithGuard().emit('error', error)).toThrow(error);
});
