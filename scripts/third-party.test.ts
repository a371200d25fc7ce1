import { expect, test } from 'vitest';
import { packageDirectory } from './third-party.ts';

test.each([
  ['node_modules/pino/lib/proto.js', 'node_modules/pino'],
  ['node_modules/@grpc/grpc-js/build/src/index.js', 'node_modules/@grpc/grpc-js'],
  ['node_modules/a/node_modules/@b/c/index.js', 'node_modules/a/node_modules/@b/c'],
  ['src/cli/main.ts', undefined],
])('%s belongs to %s', (file, directory) => {
  expect(packageDirectory(file)).toBe(directory);
});
