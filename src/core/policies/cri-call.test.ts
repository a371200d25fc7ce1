import { expect, test } from 'vitest';
import {
  encodeGrpcMessage,
  frameMessage,
  isRead,
  methodLabel,
  policyOperation,
  unframeMessage,
  upstreamHeaders,
} from './cri-call.ts';
import { formatGrpcTimeout, parseGrpcTimeout } from './grpc-timeout.ts';

const runtime = (method: string): string => `/runtime.v1.RuntimeService/${method}`;

test.each([
  ['Version', true],
  ['ListContainers', true],
  ['PodSandboxStatus', true],
  ['ListPodSandboxMetrics', true],
  ['StreamContainers', true],
  ['ContainerStats', true],
  ['GetContainerEvents', true],
  ['CreateContainer', false],
  ['RunPodSandbox', false],
  ['StopContainer', false],
  ['ExecSync', false],
  ['UpdateRuntimeConfig', false],
  ['PullImage', false],
])('whether %s only reads is %s', (method, expected) => {
  expect(isRead(runtime(method))).toBe(expected);
});

test('policies know two calls and no other', () => {
  expect(policyOperation(runtime('CreateContainer'))).toBe('CreateContainer');
  expect(policyOperation(runtime('RunPodSandbox'))).toBe('RunPodSandbox');
  for (const method of [
    'StopContainer',
    'StopPodSandbox',
    'RemoveContainer',
    'RemovePodSandbox',
    'ExecSync',
  ]) {
    expect(policyOperation(runtime(method))).toBeUndefined();
  }
  expect(policyOperation('/other.v1.RuntimeService/CreateContainer')).toBeUndefined();
});

test('labels of metrics are bounded', () => {
  expect(methodLabel('/runtime.v1.ImageService/PullImage')).toBe('PullImage');
  expect(methodLabel('/evil/Version')).toBe('other');
  expect(methodLabel(runtime('x'.repeat(100)))).toBe('other');
});

test('header lines keep order and repetition; authority, host and timeout alone change', () => {
  const headers = [
    ':path',
    '/x',
    ':authority',
    'a%2Fb',
    'k-bin',
    'A',
    'grpc-timeout',
    '2S',
    'k-bin',
    'B',
    'host',
    'h',
  ];
  expect(upstreamHeaders(headers, { spentMs: 500, decoded: false })).toEqual([
    ...[':path', '/x', ':authority', 'localhost', 'k-bin', 'A', 'grpc-timeout', '1500000u', 'k-bin', 'B'],
  ]);
  expect(upstreamHeaders([':path', '/x'], { spentMs: 0, decoded: false })).toEqual([
    ...[':authority', 'localhost', ':path', '/x'],
  ]);
  expect(
    upstreamHeaders([':authority', 'x', 'grpc-timeout', '2S'], { spentMs: 0.4, decoded: false }),
  ).toContain('2S');
  expect(upstreamHeaders(['grpc-encoding', 'gzip'], { spentMs: 0, decoded: true })).not.toContain('gzip');
});

test.each([
  ['1H', 3_600_000],
  ['2M', 120_000],
  ['3S', 3_000],
  ['4m', 4],
  ['5u', 0.005],
  ['99999999n', 99.999999],
  ['123456789m', undefined],
  ['1x', undefined],
  ['-1S', undefined],
  [undefined, undefined],
])('timeout %s has %s ms', (header, expected) => {
  const parsed = parseGrpcTimeout(header);
  if (expected === undefined) expect(parsed).toBeUndefined();
  else expect(parsed).toBeCloseTo(expected, 6);
});

test.each([
  [0, '0n'],
  [-5, '0n'],
  [50, '50000000n'],
  [1_500, '1500000u'],
  [240_000, '240000m'],
  [1e9, '1000000S'],
])('%s ms are written as %s', (timeoutMs, expected) => {
  expect(formatGrpcTimeout(timeoutMs)).toBe(expected);
});

test('messages are percent-encoded as gRPC asks', () => {
  expect(encodeGrpcMessage('100% ü\n')).toBe('100%25 %C3%BC%0A');
});

test('only a whole single message is unframed', () => {
  const framed = frameMessage(Buffer.from('abc'));
  expect(Buffer.from(framed).toString('hex')).toBe('0000000003616263');
  expect(Buffer.from(unframeMessage(framed)?.payload ?? []).toString()).toBe('abc');
  expect(unframeMessage(framed.subarray(0, 7))).toBeUndefined();
  expect(unframeMessage(Buffer.concat([framed, framed]))).toBeUndefined();
  expect(unframeMessage(Buffer.alloc(3))).toBeUndefined();
});
