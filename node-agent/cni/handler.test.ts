import { expect, it } from 'vitest';
import { Fault } from '../../src/core/fault.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { type CniNetwork, handleCall } from './handler.ts';

const healthy: CniNetwork = {
  attach: () => Promise.reject(new Fault('exhausted', 'no address is free')),
  detach: () => Promise.resolve(),
  check: () => Promise.reject(new Fault('precondition', 'drift')),
  gc: () => Promise.resolve(),
  status: () => ({}),
};

async function run(
  command: string,
  network: CniNetwork,
  config: object = {},
): Promise<{ status: number; code?: number }> {
  const environment = new Map(
    Object.entries({
      CNI_COMMAND: command,
      CNI_CONTAINERID: 'c',
      CNI_NETNS: '/n',
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/p',
    }),
  );
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...config });
  const { status, stdout } = await handleCall({ environment, stdin }, { network, logger: silentLogger }, {});
  return { status, ...(stdout === '' ? {} : (JSON.parse(stdout) as { code: number })) };
}

it.each([
  ['STATUS of a node that can serve', 'STATUS', healthy, {}, { status: 0 }],
  [
    'STATUS of a node that cannot',
    'STATUS',
    {
      ...healthy,
      status: () => {
        throw new Fault('unavailable', 'no firewall');
      },
    },
    {},
    { status: 1, code: 50 },
  ],
  ['STATUS with a wrong configuration', 'STATUS', healthy, { name: '' }, { status: 1, code: 7 }],
  ['ADD on a full node', 'ADD', healthy, {}, { status: 1, code: 11 }],
  ['CHECK of a changed pod', 'CHECK', healthy, { prevResult: {} }, { status: 1, code: 101 }],
  ['DEL', 'DEL', healthy, {}, { status: 0 }],
  [
    'an error that is not a fault',
    'DEL',
    { ...healthy, detach: () => Promise.reject(new TypeError('x is undefined')) },
    {},
    { status: 1, code: 199 },
  ],
])('%s is answered rightly', async (_, command, network, config, expected) => {
  expect(await run(command, network, config)).toMatchObject(expected);
});
