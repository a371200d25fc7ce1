import { beforeEach, describe, expect, it } from 'vitest';
import type { Attachment } from '../../../src/core/network/attachment.ts';
import { Fault } from '../../../src/core/fault.ts';
import { AddressAllocator } from '../../../src/core/network/ipam.ts';
import { parsePodRanges } from '../../../src/core/network/ipam-ranges.ts';
import { FakeNetworkParts } from '../../../test/fakes/network-parts.ts';
import { Attachments } from './attachments.ts';

let parts: FakeNetworkParts;
let attachments: Attachments;
let allocator: AddressAllocator;
let forgotten: string[];

function open(restored: readonly Attachment[] = [], range = '10.88.0.0/29'): void {
  allocator = new AddressAllocator({ ranges: parsePodRanges('ranges', [range]), cooldownMs: 1000 });
  attachments = new Attachments(
    {
      ...{ links: parts, records: parts, hostPorts: parts, allocator, nowMs: () => 0, mtu: () => 1500 },
      onForgotten: ({ containerId }) => {
        if (!attachments.list().some((listed) => listed.containerId === containerId)) {
          forgotten.push(containerId);
        }
      },
    },
    restored,
  );
}
const request = (containerId: string, hostPort?: number): Parameters<Attachments['attach']>[0] => ({
  containerId,
  ifname: 'eth0',
  network: 'net',
  netns: `/run/netns/${containerId}`,
  portMappings: hostPort === undefined ? [] : [{ protocol: 'tcp', hostPort, containerPort: 80 }],
});
const used = (): number | undefined => allocator.counts(0)[0]?.inUse;
const resting = (): number | undefined => allocator.counts(0)[0]?.cooling;

beforeEach(() => {
  parts = new FakeNetworkParts();
  forgotten = [];
  open();
});

describe('attach', () => {
  it('records before it links, so that a crash in between is found', async () => {
    await attachments.attach(request('a', 8080));
    expect(parts.log).toEqual(['save a', 'open a', expect.stringMatching(/^attach keel/)]);
  });

  it.each(['save', 'open', 'attach'])(
    'leaves nothing when %s fails, and lets no address rest',
    async (step) => {
      parts.fail(step, new Fault('unavailable', 'broken'));
      await expect(attachments.attach(request('a', 8080))).rejects.toThrow('broken');
      expect(attachments.list()).toEqual([]);
      expect([used(), resting(), parts.records.size, parts.ports.size, parts.links.size]).toEqual([
        0, 0, 0, 0, 0,
      ]);
      await attachments.attach(request('b', 8080));
    },
  );

  it('is undone when its caller has disconnected, with a cooldown of the address, which was visible', async () => {
    const cancelled = new AbortController();
    parts.onAttach = () => cancelled.abort(new Error('cancelled'));
    await expect(attachments.attach(request('a', 8080), cancelled.signal)).rejects.toThrow('cancelled');
    expect([used(), resting(), parts.records.size, parts.ports.size, parts.links.size]).toEqual([
      0, 1, 0, 0, 0,
    ]);
  });

  it('tries other indexes when one is taken', async () => {
    parts.fail('attach', new Fault('busy', 'index'));
    await attachments.attach(request('a'));
    expect(parts.links.size).toBe(1);
  });

  it('removes a stale link of its own name, which no record holds', async () => {
    const { hostLink } = await attachments.attach(request('a'));
    open();
    parts.records.clear();
    expect((await attachments.attach(request('a'))).hostLink).toBe(hostLink);
    expect(parts.log).toContain(`remove ${hostLink}`);
  });

  it('replaces an attachment whose namespace was deleted, but not a live one', async () => {
    await attachments.attach(request('a'));
    await expect(attachments.attach(request('a'))).rejects.toThrow('is already attached');
    parts.namespaces.set('/run/netns/a', 'another');
    expect((await attachments.attach(request('a'))).netnsId).toBe('another');
    expect([used(), parts.links.size]).toEqual([1, 1]);
  });

  it('gives a host port to one of two that ask at the same time', async () => {
    const both = await Promise.allSettled([
      attachments.attach(request('a', 80)),
      attachments.attach(request('b', 80)),
    ]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(used()).toBe(1);
  });

  it('says that a namespace is not there', async () => {
    parts.namespaces.set('/run/netns/a', undefined);
    await expect(attachments.attach(request('a'))).rejects.toMatchObject({ kind: 'not-found' });
  });
});

describe('detach', () => {
  it('forgets the address only after the link was removed', async () => {
    await attachments.attach(request('a', 8080));
    parts.fail('remove', new Fault('busy', 'kernel'));
    await expect(attachments.detach(request('a'))).rejects.toThrow('kernel');
    expect([used(), attachments.list().length, parts.records.size]).toEqual([1, 1, 1]);
    await attachments.detach(request('a'));
    expect([used(), resting(), attachments.list().length, parts.records.size, parts.ports.size]).toEqual([
      0, 1, 0, 0, 0,
    ]);
  });

  it('is repeated when the record could not be removed', async () => {
    await attachments.attach(request('a'));
    parts.fail('forget', new Fault('unavailable', 'disk'));
    await expect(attachments.detach(request('a'))).rejects.toThrow('disk');
    expect([used(), forgotten]).toEqual([1, []]);
    await attachments.detach(request('a'));
    expect([used(), forgotten]).toEqual([0, ['a']]);
  });

  it('removes the link of a container without record, unless it is the link of another', async () => {
    const { hostLink } = await attachments.attach(request('a'));
    const [other] = attachments.list();
    open();
    await attachments.detach(request('a'));
    expect(parts.links.has(hostLink)).toBe(false);
    parts.links.add(hostLink);
    open(other === undefined ? [] : [{ ...other, containerId: 'b' }]);
    await attachments.detach(request('a'));
    expect(parts.links.has(hostLink)).toBe(true);
  });
});

it('restored attachments keep their addresses and host ports', async () => {
  await attachments.attach(request('a', 8080));
  open(attachments.list());
  await expect(attachments.attach(request('b', 8080))).rejects.toMatchObject({ kind: 'conflict' });
  expect((await attachments.attach(request('c'))).addresses).toEqual(['10.88.0.2']);
});
