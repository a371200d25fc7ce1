import { describe, expect, test } from 'vitest';
import { inheritedSocket } from './inherited-socket.ts';

describe('inheritedSocket', () => {
  test.each([
    ['no service manager', {}, undefined],
    ['a socket for this process', { LISTEN_PID: '42', LISTEN_FDS: '1' }, 3],
    ['a socket for a parent', { LISTEN_PID: '41', LISTEN_FDS: '1' }, undefined],
  ])('%s', (_, env, expected) => {
    expect(inheritedSocket(env, 42)).toBe(expected);
  });

  test('refuses several: it would have to guess', () => {
    expect(() => inheritedSocket({ LISTEN_PID: '42', LISTEN_FDS: '2' }, 42)).toThrow('one socket');
  });
});
