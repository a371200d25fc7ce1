import { describe, expect, it } from 'vitest';
import { type IpAddress, parseAddress, parseCidr } from '../../../src/core/network/cidr.ts';
import { isFault } from '../../../src/core/fault.ts';
import {
  type Attribute,
  decodeAttributes,
  encodeAttributes,
  LITTLE_ENDIAN,
  text,
  u32,
} from './attributes.ts';
import { NLMSG_ERROR } from './constants.ts';
import { decodeAcknowledgement, decodeMessages, encodeRequest, type Request } from './message.ts';
import { decodeAddress, decodeLink, decodeNeighbour, decodeRoute } from './replies.ts';
import * as request from './requests.ts';

const address = (value: string): IpAddress => {
  const parsed = parseAddress(value);
  if (parsed === undefined) throw new Error(value);
  return parsed;
};
const cidr = (value: string): NonNullable<ReturnType<typeof parseCidr>> => {
  const parsed = parseCidr(value);
  if (parsed === undefined) throw new Error(value);
  return parsed;
};
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (words: string): Uint8Array => Uint8Array.from(Buffer.from(words.replaceAll(/\s/g, ''), 'hex'));
/** A request as the message that the kernel would send back for the same object. */
function echo(what: Request): NonNullable<ReturnType<typeof decodeMessages>[number]> {
  const [message] = decodeMessages(encodeRequest(what, 9));
  if (message === undefined) throw new Error('no message');
  return message;
}

// Netlink is host-endian; the bytes below are what `strace` shows of iproute2 on a little-endian
// machine.
describe.runIf(LITTLE_ENDIAN)('requests', () => {
  it.each<[string, Request, string]>([
    [
      'bring a link up',
      request.changeLink(5, { up: true }),
      `20000000 1000 0500 07000000 00000000  00 00 0000 05000000 01000000 01000000`,
    ],
    [
      'delete a link by name',
      request.deleteLink('keel0'),
      `2c000000 1100 0500 07000000 00000000  00 00 0000 00000000 00000000 00000000  0a00 0300 6b65656c3000 0000`,
    ],
    [
      'add an IPv6 address without duplicate address detection',
      request.addAddress({ index: 3, address: address('fd00::2'), prefix: 128, scope: 'global' }),
      `48000000 1400 0505 07000000 00000000  0a 80 00 00 03000000
       1400 0200 fd000000000000000000000000000002
       1400 0100 fd000000000000000000000000000002
       0800 0800 82000000`,
    ],
    [
      'add a route to a pod',
      request.addRoute({ destination: cidr('10.88.0.2/32'), index: 7, protocol: 75 }),
      `2c000000 1800 0505 07000000 00000000  02 20 00 00 fe 4b fd 01 00000000  0800 0100 0a580002  0800 0400 07000000`,
    ],
    [
      'add a default route by a gateway that no prefix covers',
      request.addRoute({
        destination: cidr('0.0.0.0/0'),
        index: 7,
        gateway: address('169.254.1.1'),
        protocol: 75,
      }),
      `2c000000 1800 0505 07000000 00000000  02 00 00 00 fe 4b 00 01 04000000  0800 0400 07000000  0800 0500 a9fe0101`,
    ],
    [
      'answer for a range as unreachable',
      request.addRoute({ destination: cidr('10.88.0.0/24'), priority: 9, protocol: 75 }),
      `2c000000 1800 0505 07000000 00000000  02 18 00 00 fe 4b 00 07 00000000  0800 0100 0a580000  0800 0600 09000000`,
    ],
    [
      'add a permanent neighbour',
      request.addNeighbour(7, address('10.88.0.2'), '02:00:00:00:00:0a'),
      `30000000 1c00 0505 07000000 00000000  02 00 0000 07000000 8000 00 00  0800 0100 0a580002  0a00 0200 02000000000a 0000`,
    ],
  ])('%s', (_, what, expected) => {
    expect(hex(encodeRequest(what, 7))).toBe(hex(bytes(expected)));
  });

  it('nest the peer of a veth, with its own index and namespace', () => {
    const end = { name: 'keel0', index: 70, mac: 'ee:ee:ee:ee:ee:ee', mtu: 1450 };
    const peer = { name: 'eth0', index: 7, mac: '02:00:00:00:00:01', mtu: 1450 };
    const message = echo(request.createVeth(end, peer, 21));
    expect(decodeLink(message)).toMatchObject({
      index: 70,
      name: 'keel0',
      mtu: 1450,
      mac: 'ee:ee:ee:ee:ee:ee',
    });
    const info = decodeAttributes(decodeAttributes(message.payload.subarray(16)).get(18) ?? new Uint8Array());
    const inner = decodeAttributes(info.get(2) ?? new Uint8Array()).get(1) ?? new Uint8Array();
    expect(hex(inner.subarray(4, 8))).toBe('07000000');
    expect(hex(decodeAttributes(inner.subarray(16)).get(28) ?? new Uint8Array())).toBe('15000000');
  });
});

describe('replies', () => {
  it('decode what requests for the same objects encode', () => {
    expect(
      decodeAddress(
        echo(request.addAddress({ index: 3, address: address('fd00::2'), prefix: 128, scope: 'global' })),
      ),
    ).toEqual({ index: 3, address: 'fd00::2', prefix: 128 });
    expect(
      decodeRoute(
        echo(
          request.addRoute({
            destination: cidr('::/0'),
            index: 7,
            gateway: address('fe80::1'),
            protocol: 75,
            priority: 4,
          }),
        ),
      ),
    ).toEqual({
      destination: cidr('::/0'),
      index: 7,
      gateway: 'fe80::1',
      protocol: 75,
      type: 1,
      priority: 4,
    });
    expect(decodeNeighbour(echo(request.addNeighbour(7, address('10.88.0.2'), '02:00:00:00:00:0a')))).toEqual(
      {
        index: 7,
        address: '10.88.0.2',
        mac: '02:00:00:00:00:0a',
        permanent: true,
      },
    );
    expect(decodeLink(echo(request.changeLink(9, { up: true, name: 'x', alias: 'a pod' })))).toMatchObject({
      index: 9,
      up: true,
      name: 'x',
      alias: 'a pod',
    });
  });

  it('of other families and tables are ignored', () => {
    const route = echo(request.addRoute({ destination: cidr('10.0.0.0/8'), index: 1, protocol: 2 }));
    const local = route.payload.slice();
    local[4] = 255;
    expect(decodeRoute({ ...route, payload: local })).toBeUndefined();
    const bridge = echo(request.addNeighbour(7, address('10.88.0.2'), '02:00:00:00:00:0a'));
    const payload = bridge.payload.slice();
    payload[0] = 7;
    expect(decodeNeighbour({ ...bridge, payload })).toBeUndefined();
  });
});

describe('acknowledgements', () => {
  function acknowledgement(
    flags: number,
    errno: number,
    attributes: readonly Attribute[],
  ): Parameters<typeof decodeAcknowledgement>[0] {
    const code = u32(-errno >>> 0);
    const original = encodeRequest(request.deleteLink('x'), 1);
    const echoed = (flags & 0x100) !== 0 ? original.subarray(0, 16) : original;
    const payload = Buffer.concat([code, echoed, encodeAttributes(attributes)]);
    return { type: NLMSG_ERROR, flags, sequence: 1, payload };
  }
  const words: Attribute[] = [
    [1, text('Gateway has invalid scope')],
    [2, u32(44)],
  ];

  it.each([
    ['success', acknowledgement(0x100, 0, []), { errno: 0, message: undefined, offset: undefined }],
    ['a bare refusal', acknowledgement(0x100, 17, []), { errno: 17, message: undefined, offset: undefined }],
    [
      'a capped refusal with words',
      acknowledgement(0x300, 22, words),
      { errno: 22, message: 'Gateway has invalid scope', offset: 44 },
    ],
    [
      'a refusal that repeats the request',
      acknowledgement(0x200, 22, words),
      { errno: 22, message: 'Gateway has invalid scope', offset: 44 },
    ],
  ])('say %s', (_, message, expected) => {
    expect(decodeAcknowledgement(message)).toEqual(expected);
  });
});

describe('malformed input', () => {
  it.each([
    [
      'a message longer than its datagram',
      () => decodeMessages(bytes('40000000 0200 0000 00000000 00000000')),
    ],
    [
      'a message shorter than its header',
      () => decodeMessages(bytes('08000000 0200 0000 00000000 00000000')),
    ],
    ['an attribute of no length', () => decodeAttributes(bytes('0000 0100'))],
    ['an attribute longer than its message', () => decodeAttributes(bytes('0900 0100 00000000'))],
  ])('%s is an error, not an endless loop', (_, work) => {
    let error: unknown;
    try {
      work();
    } catch (caught) {
      error = caught;
    }
    expect(isFault(error, 'bug')).toBe(true);
  });

  it('keeps a datagram of several messages apart', () => {
    const two = Buffer.concat([
      encodeRequest(request.deleteLink('keel0'), 1),
      encodeRequest(request.changeLink(5, { up: false }), 2),
    ]);
    expect(decodeMessages(two).map(({ sequence, type }) => [sequence, type])).toEqual([
      [1, 17],
      [2, 16],
    ]);
  });
});
