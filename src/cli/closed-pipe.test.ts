import { EventEmitter } from 'node:events';
import { expect, it, vi } from 'vitest';
import { ignoreClosedPipe } from './closed-pipe.ts';

it('ignores that the reader of an output closed its end', () => {
  const stream = new EventEmitter();
  const onFailure = vi.fn();
  ignoreClosedPipe(stream, onFailure);
  stream.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  expect(onFailure).not.toHaveBeenCalled();
});

it('reports other errors of an output', () => {
  const stream = new EventEmitter();
  const onFailure = vi.fn();
  ignoreClosedPipe(stream, onFailure);
  const error = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  stream.emit('error', error);
  expect(onFailure).toHaveBeenCalledExactlyOnceWith(error);
});
