import { expect, test } from 'vitest';
import { defaultLabels } from './default-labels.ts';

test('a node says in labels what it is, in classes that do not move', () => {
  const { labels } = defaultLabels({
    kernel: { release: '6.12.3-amd64', features: ['btrfs', 'nftables', 'vxlan'], cgroup: 'v2' },
    cpu: { architecture: 'amd64', vendor: 'GenuineIntel', threads: 8, features: ['avx2', 'fpu', 'vmx'] },
    memory: { total: '64Gi', numaNodes: 2, hugePages: { '2Mi': 8 } },
    disks: [
      { name: 'nvme0n1', type: 'nvme', rotational: false, size: '1Ti' },
      { name: 'nvme1n1', type: 'nvme', rotational: false, size: '1Ti' },
      { name: 'sda', type: 'hdd', rotational: true, size: '1Ti' },
    ],
    pciDevices: [
      { class: '030200', vendor: '10de', device: '2204', count: 4 },
      { class: '030000', vendor: '1a03', device: '2000', count: 1 },
      { class: '020000', vendor: '8086', device: '1521', count: 2 },
    ],
    runtime: { name: 'containerd', version: '2.1.0', proxied: true },
    storage: {
      capacity: '1Ti',
      allocated: '0',
      volumes: 0,
      pools: [
        {
          name: 'fast',
          backend: 'btrfs',
          ready: false,
          capacity: '1Ti',
          allocated: '0',
          largestVolume: '0',
          volumes: 0,
        },
      ],
    },
  });
  expect(labels).toEqual({
    'pool.keelson.dev/fast': 'btrfs',
    'disk.keelson.dev/nvme': 'true',
    'disk.keelson.dev/hdd': 'true',
    'cpu.keelson.dev/vendor': 'GenuineIntel',
    'cpu.keelson.dev/avx2': 'true',
    'cpu.keelson.dev/vmx': 'true',
    'memory.keelson.dev/numa': 'true',
    'memory.keelson.dev/hugepages-2Mi': 'true',
    'kernel.keelson.dev/version': '6.12',
    'kernel.keelson.dev/cgroup': 'v2',
    'kernel.keelson.dev/btrfs': 'true',
    'kernel.keelson.dev/nftables': 'true',
    'gpu.keelson.dev/nvidia': 'true',
    'runtime.keelson.dev/name': 'containerd',
    'runtime.keelson.dev/proxied': 'true',
  });
});

test('what is not known is unknown, and what is known to be absent is not', () => {
  const { labels, isUnknown } = defaultLabels({ disks: [] });
  expect(labels).toEqual({});
  expect(isUnknown('pool.keelson.dev/fast')).toBe(true);
  expect(isUnknown('disk.keelson.dev/nvme')).toBe(false);
  expect(isUnknown('example.com/x')).toBe(false);
});

test('a name that cannot be a label is left out', () => {
  const pool = {
    backend: 'btrfs',
    ready: true,
    capacity: '0',
    allocated: '0',
    largestVolume: '0',
    volumes: 0,
  } as const;
  const pools = [
    { name: 'x'.repeat(100), ...pool },
    { name: 'ok', ...pool },
  ];
  expect(defaultLabels({ storage: { capacity: '0', allocated: '0', volumes: 0, pools } }).labels).toEqual({
    'pool.keelson.dev/ok': 'btrfs',
  });
});
