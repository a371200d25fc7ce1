import { describe, expect, test } from 'vitest';
import { compareMachine } from './leftovers.ts';
import type { Resource, ResourceKind } from './machine-state.ts';

const belongings = { name: 'keelson-demo-Ab12', podRange: '10.88.7.0/24' };
const resource = (kind: ResourceKind, trace: string): Resource => ({ kind, key: trace, trace });

describe('compareMachine', () => {
  test('ignores existing resources', () => {
    const before = [resource('mount', '/var/tmp/keelson-demo-Ab12/x')];
    expect(compareMachine(before, before, belongings)).toEqual({ own: [], foreign: [] });
  });

  test.each<[ResourceKind, string]>([
    ['mount', '/var/tmp/keelson-demo-Ab12/state/pools/default'],
    ['loop device', '/var/tmp/keelson-demo-Ab12/state/pools/default.img'],
    ['process', 'containerd-shim-runc-v2 -address /var/tmp/keelson-demo-Ab12/c/c.sock'],
    ['cgroup', '/sys/fs/cgroup/memory/keelson-demo-Ab12'],
    ['file', '/var/tmp/keelson-demo-Ab12'],
    ['route', '10.88.7.2 dev veth12 scope link'],
    ['network namespace', '/var/tmp/keelson-demo-Ab12/netns'],
  ])('assigns a new %s at %s to the run', (kind, trace) => {
    const left = resource(kind, trace);
    expect(compareMachine([], [left], belongings)).toEqual({ own: [left], foreign: [] });
  });

  test.each<[ResourceKind, string]>([
    ['mount', '/mnt/usb'],
    ['loop device', '/root/other.img'],
    ['process', 'sleep 5'],
    ['file', '/tmp/other'],
    ['file', '/run/containerd'],
    ['network interface', 'veth0'],
    ['nft table', 'table ip docker'],
    ['nft table', 'table inet keelson_network'],
    ['route', '10.88.70.2 dev eth1'],
    ['network namespace', '/run/netns/other sleep infinity /'],
  ])('does not assign a new %s at %s to the run', (kind, trace) => {
    const other = resource(kind, trace);
    expect(compareMachine([], [other], belongings)).toEqual({ own: [], foreign: [other] });
  });
});
